// What both providers share: settings on the first line of standard input, TLS on loopback, the port on standard output,
// and an end when the tests that started us are gone.
import https from 'node:https';
import readline from 'node:readline';

export async function settings() {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('close', () => process.exit(0));
  return JSON.parse(await new Promise((resolve) => lines.once('line', resolve)));
}

export function serve({ key, cert, port }, makeHandler) {
  let handler;
  const server = https.createServer({ key, cert }, (req, res) => handler(req, res));
  server.listen(port, '127.0.0.1', () => {
    const issuer = `https://127.0.0.1:${server.address().port}`;
    handler = makeHandler(issuer);
    console.log(JSON.stringify({ issuer }));
  });
}
