/** The least that Fastify does for a small JSON body: what every route pays. */
import Fastify from 'fastify';

const app = Fastify();
const schema = { response: { 200: { type: 'object', properties: { id: { type: 'string' }, email: { type: 'string' }, created_at: { type: 'string' } } } } };
app.get('/bare', { schema }, async () => ({ id: '7Yc1oTnE0m9d3Qw2kXbVhA', email: 'john@example.com', created_at: '2026-01-31T09:30:00.000Z' }));
console.log(`"address":"${await app.listen({ port: 0, host: '127.0.0.1' })}"`);
