// A server that wants an account of each person, and the authorization server at which they have it: the least that
// the gateway's connector needs, with a page on which a person agrees or does not. Both at one origin.
import { createHash, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

const origin = `http://127.0.0.1:${process.env.PORT}`;
const codes = new Map();

const page = (query) => `<!doctype html><html lang="en"><title>Wiki</title><h1>Let the gateway use your Wiki account?</h1>
<form action="/agreed">${['redirect_uri', 'state', 'code_challenge']
    .map((name) => `<input type="hidden" name="${name}" value="${encodeURI(query.get(name) ?? '')}">`).join('')}
<button name="decision" value="agree">Agree</button><button name="decision" value="refuse">Do not agree</button></form>`;

/** Back to the gateway, with a code or without. */
function decided(query) {
  const back = new URL(query.get('redirect_uri'));
  back.searchParams.set('state', query.get('state'));
  back.searchParams.set('iss', origin);
  if (query.get('decision') === 'agree') {
    const code = randomUUID();
    codes.set(code, query.get('code_challenge'));
    back.searchParams.set('code', code);
  } else {
    back.searchParams.set('error', 'access_denied');
  }
  return [302, '', { location: back.href }];
}

function token(form) {
  const challenge = codes.get(form.get('code'));
  codes.delete(form.get('code'));
  const proof = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url');
  if (!challenge || challenge !== proof || form.get('resource') !== `${origin}/mcp`) {
    return [400, { error: 'invalid_grant' }];
  }
  return [200, {
    access_token: randomUUID(), refresh_token: randomUUID(), token_type: 'Bearer', expires_in: 3600, scope: 'read',
  }];
}

function answer({ pathname, searchParams }, body) {
  switch (pathname) {
    case '/.well-known/oauth-protected-resource/mcp':
      return [200, { resource: `${origin}/mcp`, authorization_servers: [origin], scopes_supported: ['read'] }];
    case '/.well-known/oauth-authorization-server':
      return [200, {
        issuer: origin, authorization_endpoint: `${origin}/authorize`, token_endpoint: `${origin}/token`,
        registration_endpoint: `${origin}/register`, response_types_supported: ['code'],
        grant_types_supported: ['authorization_code', 'refresh_token'], code_challenge_methods_supported: ['S256'],
        token_endpoint_auth_methods_supported: ['none'], authorization_response_iss_parameter_supported: true,
      }];
    case '/register':
      return [201, { ...JSON.parse(body), client_id: 'gateway', token_endpoint_auth_method: 'none' }];
    case '/authorize':
      return [200, page(searchParams), { 'content-type': 'text/html' }];
    case '/agreed':
      return decided(searchParams);
    case '/favicon.ico':
      return [204, ''];
    case '/token':
      return token(new URLSearchParams(body));
    default:
      return [401, {}, {
        'www-authenticate': `Bearer resource_metadata="${origin}/.well-known/oauth-protected-resource/mcp", scope="read"`,
      }];
  }
}

createServer(async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  const [status, content, headers = {}] = answer(new URL(request.url, origin), body);
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof content === 'string' ? content : JSON.stringify(content));
}).listen(Number(process.env.PORT), '127.0.0.1');
