// A SAML 2.0 identity provider that this project did not write: npm's `samlp` (and `saml`, xml-crypto beneath it),
// which Auth0 runs. Its middleware answers a redirected request with a form; `/mint` answers with a response that has
// the options in the request's body, so that tests can ask for what no request asks for.
import { createRequire } from 'node:module';
import { serve, settings } from './line.mjs';

const given = await settings();
const require = createRequire(`${given.modules}/package.json`);
const samlp = require('samlp');

function mapper(person) {
  return {
    getClaims: () => person.attributes,
    getNameIdentifier: () => ({ nameIdentifier: person.id, nameIdentifierFormat: person.format }),
  };
}
mapper.prototype = { metadata: [] }; // the metadata endpoint lists no attributes

const options = (issuer, more) => ({
  issuer: `${issuer}/metadata`,
  cert: given.signing.cert,
  key: given.signing.key,
  lifetimeInSeconds: 600,
  signatureAlgorithm: 'rsa-sha256',
  digestAlgorithm: 'sha256',
  authnContextClassRef: 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport',
  sessionIndex: '_session-1',
  profileMapper: mapper,
  ...more,
});

// what the middleware needs of Express, and no more
function express(req, res) {
  const url = new URL(req.url, 'https://127.0.0.1');
  Object.assign(req, { query: Object.fromEntries(url.searchParams), originalUrl: req.url, protocol: 'https' });
  res.set = (name, value) => res.setHeader(name, value);
  res.send = (first, second) => {
    if (typeof first === 'number') res.statusCode = first;
    res.end(String(second ?? first));
  };
  return url.pathname;
}

const fail = (res) => (error) => { res.statusCode = 400; res.end(String(error?.message ?? error)); };

async function body(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return JSON.parse(text);
}

serve(given, (issuer) => {
  const auth = samlp.auth(options(issuer, {
    getUserFromRequest: (req) => given.people[req.headers['x-person'] ?? given.person],
    getPostURL: (audience, request, req, done) => done(null, given.recipient),
    recipient: given.recipient,
    destination: given.recipient,
  }));
  const metadata = samlp.metadata(options(issuer, { redirectEndpointPath: '/sso', postEndpointPath: '/sso' }));
  return (req, res) => {
    const path = express(req, res);
    if (path === '/sso') return auth(req, res, fail(res));
    if (path === '/metadata') return metadata(req, res);
    return body(req).then(({ person, ...more }) => {
      samlp.getSamlResponse(options(issuer, more), given.people[person], (error, text) => {
        if (error) return fail(res)(error);
        res.setHeader('content-type', 'application/xml');
        return res.end(text);
      });
    }).catch(fail(res));
  };
});
