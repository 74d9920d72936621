// What the scripts share: a configured client, a namespace of their own, and assertions that say what they found.

import { createRequire } from 'node:module';
import { isDeepStrictEqual } from 'node:util';
import { pathToFileURL } from 'node:url';

// The folder of installed packages lies elsewhere: the test names it.
const installed = createRequire(`${process.env.EXEUNT_NODE_MODULES}/`);
export const k8s = await import(pathToFileURL(installed.resolve('@kubernetes/client-node')));

const PATIENCE_MILLISECONDS = 60_000;

/** The configuration for the kubeconfig that the test named. */
export function connect() {
  const config = new k8s.KubeConfig();
  config.loadFromFile(process.argv[2]);
  return config;
}

export async function namespace(config, name) {
  await config.makeApiClient(k8s.CoreV1Api).createNamespace({ body: { metadata: { name } } });
  return name;
}

function fail(sentence, detail) {
  console.error(`FAILED: ${sentence}\n  ${detail}`);
  process.exit(1);
}

/** Prints the sentence when it holds; ends the script when it does not. */
export function check(sentence, found, expected = true) {
  if (!isDeepStrictEqual(found, expected)) {
    fail(sentence, `found:    ${JSON.stringify(found)}\n  expected: ${JSON.stringify(expected)}`);
  }
  console.log(`ok: ${sentence}`);
}

/** The call must be refused like this; gives the answer's body. */
export async function refused(sentence, code, reason, call) {
  try {
    await call();
  } catch (refusal) {
    if (!(refusal instanceof k8s.ApiException)) throw refusal;
    const body = typeof refusal.body === 'string' ? JSON.parse(refusal.body) : refusal.body;
    check(sentence, [refusal.code, body.kind, body.reason], [code, 'Status', reason]);
    return body;
  }
  fail(sentence, 'nothing was refused');
}

/** Looks again and again until it passes; gives what was seen. */
export async function until(sentence, look, passes) {
  const end = Date.now() + PATIENCE_MILLISECONDS;
  for (;;) {
    const found = await look();
    if (passes(found)) {
      console.log(`ok: ${sentence}`);
      return found;
    }
    if (Date.now() > end) fail(sentence, `last seen: ${JSON.stringify(found)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function pod(name, labels) {
  return {
    metadata: { name, labels },
    spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'c', image: 'nginx' }] },
  };
}

export function isReady(found) {
  const conditions = found.status?.conditions ?? [];
  return conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True');
}
