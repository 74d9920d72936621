// Watches and informers: every change arrives once, and an informer keeps the present state.

import { check, connect, k8s, namespace, until } from './support.mjs';

const config = connect();
const core = config.makeApiClient(k8s.CoreV1Api);
const ns = await namespace(config, 'watching');
const path = `/api/v1/namespaces/${ns}/configmaps`;
const labelSelector = 'kind=watched';

const make = (name) => core.createNamespacedConfigMap({ namespace: ns, body: { metadata: { name, labels: { kind: 'watched' } } } });
const change = (name, body) =>
  core.patchNamespacedConfigMap({ name, namespace: ns, body }, k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch));

await make('a');
const { resourceVersion } = (await core.listNamespacedConfigMap({ namespace: ns, labelSelector })).metadata;

// An informer beside the watch.
const list = () => core.listNamespacedConfigMap({ namespace: ns, labelSelector });
const informer = k8s.makeInformer(config, path, list, labelSelector);
const told = [];
for (const verb of ['add', 'update', 'delete']) {
  informer.on(verb, (found) => told.push(`${verb} ${found.metadata.name}`));
}
const complain = (problem) => console.error('the informer met', problem);
informer.on('error', complain);
await informer.start();
await until('the informer knows what there is', async () => told, (found) => found.includes('add a'));

const events = [];
let ended;
const end = new Promise((resolve) => (ended = resolve));
const query = { labelSelector, resourceVersion, allowWatchBookmarks: true, timeoutSeconds: 60 };
const watch = await new k8s.Watch(config).watch(
  path,
  query,
  (type, found) => type === 'BOOKMARK' || events.push(`${type} ${found.metadata.name}`),
  ended,
);
await make('b');
await change('b', { data: { k: 'v' } });
await core.deleteNamespacedConfigMap({ name: 'b', namespace: ns });
await change('a', { metadata: { labels: { kind: 'ignored' } } });
await until('the watch saw all', async () => events, (found) => found.length >= 4);
check('every change came once', events, ['ADDED b', 'MODIFIED b', 'DELETED b', 'DELETED a']);
watch.abort();
await end;

await until('the informer saw all', async () => told, (found) => found.includes('delete a'));
check('the informer told it in order', told, ['add a', 'add b', 'update b', 'delete b', 'delete a']);
check('the informer holds the present state', informer.list(), []);
// Stopping aborts its request, which it calls an error.
informer.off('error', complain);
await informer.stop();

// The server ends a watch when its time is over.
const over = await new Promise((resolve, reject) => {
  new k8s.Watch(config).watch(path, { timeoutSeconds: 1 }, () => {}, resolve).catch(reject);
});
check('a watch with a timeout ends well', over === null || over === k8s.Watch.SERVER_SIDE_CLOSE);
process.exit(0);
