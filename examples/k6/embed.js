// A load test: embeds one aligned face many times, and checks that every answer is right.
//
//   k6 run -e FACE="$PWD/face.png" embed.js
//
// Variables: ADDRESS, FACE (a file), VUS (callers at once), ITERATIONS (calls in all), DURATION (at
// most); with TLS the files CA, CERTIFICATE and KEY, and TOKEN. Paths start at this file's folder.

import { check, fail } from 'k6';
import encoding from 'k6/encoding';
import { Counter } from 'k6/metrics';
import grpc from 'k6/net/grpc';

const { ADDRESS = '127.0.0.1:50051', FACE, CA, CERTIFICATE, KEY, TOKEN } = __ENV;
const METHOD = 'face_embedding.v1.FaceEmbeddingService/Embed';

const right = new Counter('right_answers');

export const options = {
  scenarios: {
    embed: {
      executor: 'shared-iterations',
      vus: Number(__ENV.VUS || 4),
      iterations: Number(__ENV.ITERATIONS || 1000),
      maxDuration: __ENV.DURATION || '1m',
    },
  },
  thresholds: {
    checks: ['rate==1'],
    // What never ran has failed no check.
    right_answers: ['count>0'],
  },
};

if (TOKEN && !CA) throw new Error('a token needs TLS: CA');
const metadata = TOKEN ? { authorization: `Bearer ${TOKEN}` } : {};
const connection = { plaintext: !CA, reflect: true, reflectMetadata: metadata };
if (CA) connection.tls = { cacerts: [open(CA)] };
if (CERTIFICATE) Object.assign(connection.tls, { cert: open(CERTIFICATE), key: open(KEY) });

// In k6, bytes are base64.
const face = { encoded: encoding.b64encode(open(FACE, 'b')), aligned: {} };
const client = new grpc.Client();

function embed() {
  return client.invoke(METHOD, { faces: [face] }, { metadata, timeout: '30s' });
}

function valuesOf(response) {
  return response.message.results[0].embedding.values;
}

export function setup() {
  client.connect(ADDRESS, connection);
  const response = embed();
  client.close();
  if (response.status !== grpc.StatusOK) fail(JSON.stringify(response.error));
  return valuesOf(response);
}

export default function (expected) {
  // Once for each caller, and as a check since an exception alone fails no test.
  if (__ITER === 0) check(client, { connects: () => client.connect(ADDRESS, connection) });
  const response = embed();
  const ok = check(response, {
    'status is OK': () => response.status === grpc.StatusOK,
  });
  // Under load, too, the same face has to give the same embedding.
  right.add(
    ok &&
      check(valuesOf(response), {
        'embedding is the same': (values) => Math.abs(cosine(values, expected) - 1) < 1e-5,
      }),
  );
}

function cosine(first, second) {
  return first.reduce((sum, value, n) => sum + value * second[n], 0);
}
