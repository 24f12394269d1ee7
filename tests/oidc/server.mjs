// A real authorization server: client credentials, tokens that live five seconds, one line per token it gives.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const LIFETIME_S = 5;

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: ['basic', 'form'].map((style) => ({
      client_id: `client-${style}`,
      client_secret: 'a secret: with/odd&characters',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: style === 'basic' ? 'client_secret_basic' : 'client_secret_post',
      scope: 'ai:llm:write ai:llm:read',
    })),
    scopes: ['ai:llm:write', 'ai:llm:read', 'ai:admin'],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    ttl: { ClientCredentials: LIFETIME_S },
  });
  provider.on('grant.success', (ctx) => console.log(`token ${ctx.oidc.client.clientId}`));
  server.on('request', provider.callback());
  console.log(`ready ${issuer}`);
});
