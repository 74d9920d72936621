// The typed client: create, read, list, all languages of patches, replace, delete, and how refusals look.

import { check, connect, isReady, k8s, namespace, pod, refused, until } from './support.mjs';

const config = connect();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const ns = await namespace(config, 'typed');

check('the version is 1.36', (await config.makeApiClient(k8s.VersionApi).getCode()).minor, '36');

// Objects.
const made = await core.createNamespacedConfigMap({
  namespace: ns,
  body: { metadata: { generateName: 'c-', labels: { a: 'b' } }, data: { k: 'ü' } },
});
const name = made.metadata.name;
check('a name is made', /^c-[a-z0-9]{5}$/.test(name));
check('its birth is a date', made.metadata.creationTimestamp instanceof Date);
check('it is read back', (await core.readNamespacedConfigMap({ name, namespace: ns })).data, { k: 'ü' });
const names = async (labelSelector) => {
  const listed = await core.listNamespacedConfigMap({ namespace: ns, labelSelector });
  return listed.items.map((item) => item.metadata.name);
};
check('a label finds it', await names('a in (b,c)'), [name]);

// Patches.
const patch = async (contentType, body, more = {}) => {
  const options = k8s.setHeaderOptions('Content-Type', contentType);
  const patched = await core.patchNamespacedConfigMap({ name, namespace: ns, body, ...more }, options);
  return patched.data;
};
const { JsonPatch, MergePatch, StrategicMergePatch, ServerSideApply } = k8s.PatchStrategy;
check('a JSON patch adds', await patch(JsonPatch, [{ op: 'add', path: '/data/x', value: '1' }]), { k: 'ü', x: '1' });
check('a merge patch removes with null', await patch(MergePatch, { data: { x: null } }), { k: 'ü' });
check('a strategic merge patch replaces', await patch(StrategicMergePatch, { data: { $patch: 'replace', y: '2' } }), { y: '2' });
const wish = (value) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { mine: value } });
check('an apply adds', await patch(ServerSideApply, wish('1'), { fieldManager: 'js', force: true }), { mine: '1', y: '2' });
const conflict = await refused('another manager meets a conflict', 409, 'Conflict', () =>
  patch(ServerSideApply, wish('2'), { fieldManager: 'other' }),
);
check('the conflict names the field', conflict.details.causes[0].field, '.data.mine');
await refused('an unknown language is refused', 415, 'UnsupportedMediaType', () => patch('text/plain', {}));

// Replace with a stale version, dry run, refusals.
const stored = await core.readNamespacedConfigMap({ name, namespace: ns });
const replaced = await core.replaceNamespacedConfigMap({ name, namespace: ns, body: { ...stored, data: { z: '3' } } });
check('a replacement is stored', replaced.data, { z: '3' });
const again = { ...stored, data: { z: '4' } };
await refused('a stale replacement is refused', 409, 'Conflict', () =>
  core.replaceNamespacedConfigMap({ name, namespace: ns, body: again }),
);
await core.createNamespacedConfigMap({ namespace: ns, body: { metadata: { name: 'dry' } }, dryRun: 'All' });
await refused('a dry run stores nothing', 404, 'NotFound', () => core.readNamespacedConfigMap({ name: 'dry', namespace: ns }));
const invalid = await refused('a bad name is refused', 422, 'Invalid', () =>
  core.createNamespacedConfigMap({ namespace: ns, body: { metadata: { name: 'Not_A_Name' } } }),
);
check('the cause names the field', invalid.details.causes[0].field, 'metadata.name');

// The client for any kind finds them by discovery.
const any = k8s.KubernetesObjectApi.makeApiClient(config);
const budget = {
  apiVersion: 'policy/v1',
  kind: 'PodDisruptionBudget',
  metadata: { name: 'b', namespace: ns },
  spec: { maxUnavailable: '50%', selector: { matchLabels: { app: 'web' } } },
};
const seen = await any.create(budget);
check('a budget is made by its kind', seen.spec.maxUnavailable, '50%');
const fewer = await any.patch({ ...budget, spec: { maxUnavailable: 1 } }, undefined, undefined, 'js', undefined, MergePatch);
check('and patched', fewer.spec.maxUnavailable, 1);
check('and listed', (await any.list('policy/v1', 'PodDisruptionBudget', ns)).items.length, 1);
await any.delete(budget);
await refused('and deleted', 404, 'NotFound', () => any.read(budget));

// A workload, its scale, its log.
await apps.createNamespacedDeployment({
  namespace: ns,
  body: {
    metadata: { name: 'web' },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: pod('c').spec },
    },
  },
});
const scale = await apps.patchNamespacedDeploymentScale(
  { name: 'web', namespace: ns, body: { spec: { replicas: 2 } } },
  k8s.setHeaderOptions('Content-Type', MergePatch),
);
check('the scale is patched', scale.spec.replicas, 2);
const status = async () => (await apps.readNamespacedDeploymentStatus({ name: 'web', namespace: ns })).status;
await until('two replicas are ready', status, (found) => found.readyReplicas === 2);
const [some] = (await core.listNamespacedPod({ namespace: ns, labelSelector: 'app=web' })).items;
check('its log is text', (await core.readNamespacedPodLog({ name: some.metadata.name, namespace: ns })).length > 0);

// Deletion.
await core.createNamespacedPod({ namespace: ns, body: pod('last') });
await until('the pod is ready', () => core.readNamespacedPod({ name: 'last', namespace: ns }), isReady);
const going = await core.deleteNamespacedPod({ name: 'last', namespace: ns, gracePeriodSeconds: 1 });
check('a deleted pod is shown with its end', going.metadata.deletionGracePeriodSeconds, 1);
await apps.deleteNamespacedDeployment({ name: 'web', namespace: ns, body: { propagationPolicy: 'Foreground' } });
const pods = async () => (await core.listNamespacedPod({ namespace: ns })).items.length;
await until('the pods are gone', pods, (count) => count === 0);
await core.deleteCollectionNamespacedConfigMap({ namespace: ns, labelSelector: 'a=b' });
check('a collection is deleted by its label', await names('a=b'), []);
