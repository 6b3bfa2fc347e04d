// Embeds one or two images and compares them. Prints JSON.
// The images are aligned faces, or photographs with --detect.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const TIMEOUT_MS = 30_000;

const { values: options, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    address: { type: 'string', default: '127.0.0.1:50051' },
    detect: { type: 'boolean', default: false },
    ca: { type: 'string' }, // PEM file of who signed the server's certificate
    certificate: { type: 'string' }, // PEM files of this client's certificate and of its key
    key: { type: 'string' },
    'token-file': { type: 'string' },
  },
});

const contract = loadSync(
  ['face_embedding/v1/face_embedding.proto', 'google/rpc/error_details.proto'],
  {
    includeDirs: [join(import.meta.dirname, '../../protos'), import.meta.dirname],
    keepCase: true,
    enums: String,
    json: true, // Unpacks the details of errors.
  },
);
const { FaceEmbeddingService } = grpc.loadPackageDefinition(contract).face_embedding.v1;

function credentials() {
  if (!options.ca) {
    if (options['token-file']) throw new Error('a token needs TLS: --ca');
    return grpc.credentials.createInsecure();
  }
  const [ca, key, certificate] = [options.ca, options.key, options.certificate].map((file) =>
    file ? readFileSync(file) : null,
  );
  const channel = grpc.credentials.createSsl(ca, key, certificate);
  if (!options['token-file']) return channel;

  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${readFileSync(options['token-file'], 'utf8').trim()}`);
  const token = grpc.credentials.createFromMetadataGenerator((_, done) => done(null, metadata));
  return grpc.credentials.combineChannelCredentials(channel, token);
}

function call(client, method, request) {
  const deadline = Date.now() + TIMEOUT_MS;
  return promisify(client[method]).call(client, request, { deadline });
}

/** Returns why the server refused, as a reason to match and the field to blame. */
function errorInfo(error) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  if (!bytes) return {}; // No answer of the service, such as a refused connection.
  const { details } = contract['google.rpc.Status'].deserialize(bytes);
  const info = details.find((detail) => detail['@type']?.endsWith('/google.rpc.ErrorInfo'));
  return { reason: info?.reason, field: info?.metadata?.field };
}

async function main(client) {
  const preparation = options.detect ? { detect: {} } : { aligned: {} };
  const embeddings = [];
  for (const file of files) {
    const face = { encoded: readFileSync(file), ...preparation };
    const { results } = await call(client, 'Embed', { faces: [face] });
    embeddings.push(results[0].embedding);
  }
  const answer = {
    space: embeddings[0].space,
    embeddings: embeddings.map((embedding) => embedding.values),
  };
  if (embeddings.length === 2) {
    const [first, second] = embeddings.map((embedding) => ({ embedding }));
    answer.cosine_similarity = (await call(client, 'Compare', { first, second })).cosine_similarity;
  }
  console.log(JSON.stringify(answer));
}

if (files.length < 1 || files.length > 2) {
  console.error('usage: node embed.js [OPTIONS] FILE [FILE]');
  process.exit(2);
}
const client = new FaceEmbeddingService(options.address, credentials());
try {
  await main(client);
} catch (error) {
  if (!(error.metadata instanceof grpc.Metadata)) throw error;
  const { code, details } = error;
  console.error(JSON.stringify({ code: grpc.status[code], ...errorInfo(error), message: details }));
  process.exitCode = 1;
} finally {
  client.close();
}
