// An OpenID provider that this project did not write: npm's certified `oidc-provider`, with the clients, people and
// resources that the tests hand in. Nobody types a password: `login_hint` names the person.
import { createRequire } from 'node:module';
import { serve, settings } from './line.mjs';

const given = await settings();
const { Provider, errors } = createRequire(`${given.modules}/package.json`)('oidc-provider');

const html = (ctx, form, button) => { ctx.body = `<html>${form}<button form="${button}">go</button></html>`; };

function configuration() {
  return {
    jwks: given.jwks,
    clients: given.clients,
    cookies: { keys: ['only-a-test'] },
    findAccount: (ctx, id) => given.people[id] && ({ accountId: id, claims: async () => ({ sub: id, ...given.people[id] }) }),
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], groups: ['groups'], acr: null, amr: null, auth_time: null },
    scopes: ['openid', 'offline_access', 'profile', 'groups', 'jobs'],
    conformIdTokenClaims: false,
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
    // its guard against special addresses would keep it from telling clients on loopback
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    pkce: { required: () => true },
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      deviceFlow: {
        enabled: true,
        userCodeInputSource: (ctx, form) => html(ctx, form, 'op.deviceInputForm'),
        userCodeConfirmSource: (ctx, form) => html(ctx, form, 'op.deviceConfirmForm'),
        successSource: (ctx) => html(ctx, 'signed in', ''),
      },
      introspection: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => html(ctx, form, 'op.logoutForm'),
        postLogoutSuccessSource: (ctx) => html(ctx, 'signed out', ''),
      },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => {
          const alg = given.resources[resource];
          if (!alg) throw new errors.InvalidTarget();
          const token = alg === 'opaque' ? { accessTokenFormat: 'opaque' } : { accessTokenFormat: 'jwt', jwt: { sign: { alg } } };
          return { scope: 'jobs', audience: resource, accessTokenTTL: given.lifetime, ...token };
        },
      },
    },
    // many a provider decides by the client, not by `offline_access`, who may stay
    ...(given.stays ? { issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token') } : {}),
    acrValues: ['urn:example:mfa', 'phr', 'c1'],
    extraTokenClaims: (ctx, token) => ({
      groups: token.accountId ? given.people[token.accountId].groups : [],
      // a context that was asked for (RFC 9068 section 2.2.1)
      ...(['phr', 'c1'].includes(ctx.oidc.entities.AuthorizationCode?.acr) ? { acr: ctx.oidc.entities.AuthorizationCode.acr } : {}),
    }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    ttl: { Interaction: 600, Session: 3600, Grant: 3600, IdToken: given.idLifetime ?? given.lifetime, DeviceCode: 600, RefreshToken: 3600 },
  };
}

async function consent(provider, details) {
  const { params, prompt, session, grantId } = details;
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return { consent: { grantId: await grant.save() } };
}

function signsInByItself(provider) {
  return async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const details = await provider.interactionDetails(ctx.req, ctx.res);
    const login = details.prompt.name === 'login';
    const hint = details.params.login_hint;
    if (login && (hint || given.person) === 'nobody') {
      const refusal = { error: 'access_denied', error_description: 'nobody may sign in' };
      return provider.interactionFinished(ctx.req, ctx.res, refusal, { mergeWithLastSubmission: false });
    }
    const result = login
      ? { login: { accountId: hint || given.person, amr: ['pwd', 'mfa'], acr: details.params.acr_values || 'urn:example:mfa' } }
      : await consent(provider, details);
    return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: !login });
  };
}

serve(given, (issuer) => {
  const provider = new Provider(issuer, configuration());
  provider.use(signsInByItself(provider));
  provider.on('server_error', (ctx, error) => console.error(error));
  return provider.callback();
});
