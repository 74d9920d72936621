// Evictions as an operator written in JavaScript sees them: granted, refused with causes, two budgets, preconditions.

import { check, connect, isReady, k8s, namespace, pod, refused, until } from './support.mjs';

const config = connect();
const core = config.makeApiClient(k8s.CoreV1Api);
const policy = config.makeApiClient(k8s.PolicyV1Api);
const ns = await namespace(config, 'eviction');

const names = ['p1', 'p2', 'p3'];
for (const name of names) await core.createNamespacedPod({ namespace: ns, body: pod(name, { app: 'web' }) });
for (const name of names) await until(`${name} is ready`, () => core.readNamespacedPod({ name, namespace: ns }), isReady);

const evict = (name, deleteOptions, more = {}) =>
  core.createNamespacedPodEviction({ name, namespace: ns, body: { metadata: { name, namespace: ns }, deleteOptions }, ...more });
const budget = async (name, spec) => {
  const body = { metadata: { name }, spec: { ...spec, selector: { matchLabels: { app: 'web' } } } };
  await policy.createNamespacedPodDisruptionBudget({ namespace: ns, body });
  const read = async () => (await policy.readNamespacedPodDisruptionBudgetStatus({ name, namespace: ns })).status;
  return until(`budget ${name} is counted`, read, (found) => found?.observedGeneration === 1);
};

const counted = await budget('two', { minAvailable: 2 });
check('it allows one disruption', [counted.currentHealthy, counted.disruptionsAllowed], [3, 1]);

await evict('p1', undefined, { dryRun: 'All' });
const still = await core.readNamespacedPod({ name: 'p1', namespace: ns });
check('a dry run evicts nothing', still.metadata.deletionTimestamp === undefined);
await refused('a wrong uid is a conflict', 409, 'Conflict', () => evict('p1', { preconditions: { uid: 'other' } }));
await evict('p1', { gracePeriodSeconds: 1 });
console.log('ok: the first eviction is granted');

const answer = await refused('the second eviction is refused', 429, 'TooManyRequests', () => evict('p2'));
check('it says what everybody knows', answer.message, "Cannot evict pod as it would violate the pod's disruption budget.");
check('the cause is the budget', answer.details.causes[0].reason, 'DisruptionBudget');
check('the cause names it', answer.details.causes[0].message.startsWith('The disruption budget two '));

await budget('other', { maxUnavailable: 1 });
const two = await refused('two budgets are an error', 500, undefined, () => evict('p2'));
check('it says so', two.message.includes('more than one PodDisruptionBudget'));
await refused('what is not there cannot be evicted', 404, 'NotFound', () => evict('nobody'));
