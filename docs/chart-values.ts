// What values the Helm chart takes, besides the daemon's settings: helm/stripe-mongo-sync/values.schema.json is made of this. Defaults and
// descriptions stand in values.yaml.
import { z } from 'zod';

const labels = z.record(z.string(), z.string());
const name = z.string().regex(/^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$/);
/** Part of the name of a Service, which takes no dot. */
const label = z.string().regex(/^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$/);
const port = z.int().min(1).max(65_535);
const seconds = z.int().min(1);
const numberOrPercentage = z.union([z.int().min(0), z.string().regex(/^\d+%$/)]);
const duration = z.string().regex(/^(\d+(ms|[smhdwy]))+$/);
const quantity = z.union([z.number().min(0), z.string().regex(/^[0-9.]+(m|[kMGTPE]i?|e[0-9]+)?$/)]);
/** What Kubernetes itself judges: open, and nothing but its kind is checked. */
const kubernetes = z.looseObject({});

const selector = z.strictObject({ matchLabels: labels, matchExpressions: z.array(kubernetes) }).partial();

const peers = z.array(
  z
    .strictObject({
      podSelector: selector,
      namespaceSelector: selector,
      ipBlock: z.strictObject({ cidr: z.string(), except: z.array(z.string()).optional() }),
    })
    .partial(),
);

const resources = z
  .strictObject({
    limits: z.record(z.string(), quantity),
    requests: z.record(z.string(), quantity),
    claims: z.array(z.strictObject({ name: z.string(), request: z.string().optional() })),
  })
  .partial();

const probe = z.strictObject({
  enabled: z.boolean(),
  initialDelaySeconds: z.int().min(0),
  periodSeconds: seconds,
  timeoutSeconds: seconds,
  failureThreshold: z.int().min(1),
});

/** Without a pattern: Helm would print what does not match it. The templates judge it, and do not. */
const secret = z.string();
const existingSecret = z.strictObject({ name, key: z.string().regex(/^[-._a-zA-Z0-9]+$/) });
const absolutePath = z.string().regex(/^(\/.+)?$/);
const connectionString = z.strictObject({
  uri: secret,
  existingSecret,
  uriFile: absolutePath,
});

const seLinuxOptions = z
  .strictObject({ level: z.string(), role: z.string(), type: z.string(), user: z.string() })
  .partial();
const profile = z.strictObject({ type: z.string(), localhostProfile: z.string().optional() });
const securityContexts = {
  runAsNonRoot: z.boolean(),
  runAsUser: z.int(),
  runAsGroup: z.int(),
  seLinuxOptions,
  seccompProfile: profile,
  appArmorProfile: profile,
  windowsOptions: kubernetes,
};

const toleration = z
  .strictObject({
    key: z.string(),
    operator: z.string(),
    value: z.string(),
    effect: z.string(),
    tolerationSeconds: z.int(),
  })
  .partial();

const spread = z.strictObject({
  maxSkew: z.int().min(1),
  topologyKey: z.string(),
  whenUnsatisfiable: z.enum(['DoNotSchedule', 'ScheduleAnyway']),
  labelSelector: selector.optional(),
  matchLabelKeys: z.array(z.string()).optional(),
  minDomains: z.int().min(1).optional(),
  nodeAffinityPolicy: z.enum(['Honor', 'Ignore']).optional(),
  nodeTaintsPolicy: z.enum(['Honor', 'Ignore']).optional(),
});

const variable = z.strictObject({
  name: z.string().regex(/^[-._a-zA-Z][-._a-zA-Z0-9]*$/),
  value: z.string().optional(),
  valueFrom: kubernetes.optional(),
});

const envFrom = z
  .strictObject({ prefix: z.string(), configMapRef: kubernetes, secretRef: kubernetes })
  .partial();
const volumeMount = z.looseObject({ name: z.string(), mountPath: z.string() });

const monitor = z.strictObject({
  enabled: z.boolean(),
  namespace: name,
  labels,
  annotations: labels,
  interval: duration,
  scrapeTimeout: duration,
  relabelings: z.array(kubernetes),
  metricRelabelings: z.array(kubernetes),
});

/** Every value but `config`, which is made of the settings, in the order of values.yaml. */
export const chartValues = {
  nameOverride: label,
  fullnameOverride: label,
  commonLabels: labels,
  image: z.strictObject({
    registry: z.string().regex(/^([A-Za-z0-9][A-Za-z0-9.:/_-]*)?$/),
    repository: z.string().regex(/^[a-z0-9][a-z0-9./_-]*$/),
    tag: z.string().regex(/^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$/),
    digest: z.string().regex(/^(sha256:[0-9a-f]{64})?$/),
    pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']),
  }),
  imagePullSecrets: z.array(z.strictObject({ name })),
  stripe: z.strictObject({
    apiKey: secret,
    existingSecret,
    apiKeyFile: absolutePath,
  }),
  mongodb: connectionString,
  migrate: z.strictObject({ enabled: z.boolean(), mongodb: connectionString, resources }),
  replicaCount: z.int().min(0),
  revisionHistoryLimit: z.int().min(0),
  strategy: z.strictObject({
    type: z.enum(['RollingUpdate', 'Recreate']),
    rollingUpdate: z
      .strictObject({ maxSurge: numberOrPercentage, maxUnavailable: numberOrPercentage })
      .partial()
      .optional(),
  }),
  terminationGracePeriodSeconds: seconds,
  resources,
  startupProbe: probe,
  livenessProbe: probe,
  readinessProbe: probe,
  serviceAccount: z.strictObject({
    create: z.boolean(),
    name,
    annotations: labels,
    automountServiceAccountToken: z.boolean(),
  }),
  deploymentAnnotations: labels,
  podAnnotations: labels,
  podLabels: labels,
  podSecurityContext: z
    .strictObject({
      ...securityContexts,
      fsGroup: z.int(),
      fsGroupChangePolicy: z.enum(['Always', 'OnRootMismatch']),
      supplementalGroups: z.array(z.int()),
      supplementalGroupsPolicy: z.enum(['Merge', 'Strict']),
      seLinuxChangePolicy: z.string(),
      sysctls: z.array(kubernetes),
    })
    .partial(),
  securityContext: z
    .strictObject({
      ...securityContexts,
      allowPrivilegeEscalation: z.boolean(),
      privileged: z.boolean(),
      procMount: z.string(),
      readOnlyRootFilesystem: z.boolean(),
      capabilities: z.strictObject({ add: z.array(z.string()), drop: z.array(z.string()) }).partial(),
    })
    .partial(),
  priorityClassName: name,
  nodeSelector: labels,
  tolerations: z.array(toleration),
  affinity: z
    .strictObject({ nodeAffinity: kubernetes, podAffinity: kubernetes, podAntiAffinity: kubernetes })
    .partial(),
  topologySpreadConstraints: z.array(spread),
  dnsConfig: z
    .strictObject({
      nameservers: z.array(z.string()),
      searches: z.array(z.string()),
      options: z.array(z.strictObject({ name: z.string(), value: z.string().optional() })),
    })
    .partial(),
  extraEnv: z.array(variable),
  extraEnvFrom: z.array(envFrom),
  extraVolumes: z.array(z.looseObject({ name })),
  extraVolumeMounts: z.array(volumeMount),
  podDisruptionBudget: z.strictObject({
    enabled: z.boolean(),
    minAvailable: z.union([z.literal(''), numberOrPercentage]),
    maxUnavailable: numberOrPercentage,
  }),
  service: z.strictObject({
    enabled: z.boolean(),
    type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']),
    port,
    annotations: labels,
    labels,
    ipFamilyPolicy: z.enum(['', 'SingleStack', 'PreferDualStack', 'RequireDualStack']),
    ipFamilies: z.array(z.enum(['IPv4', 'IPv6'])),
  }),
  serviceMonitor: monitor,
  podMonitor: monitor,
  prometheusRule: z.strictObject({
    enabled: z.boolean(),
    namespace: name,
    labels,
    annotations: labels,
    alertLabels: labels,
    disabledAlerts: z.array(z.string()),
    runbookUrl: z.string().regex(/^(https?:\/\/\S+)?$/),
  }),
  dashboards: z.strictObject({ enabled: z.boolean(), namespace: name, labels, annotations: labels }),
  networkPolicy: z.strictObject({
    enabled: z.boolean(),
    metricsFrom: peers,
    dnsTo: peers,
    mongodbTo: peers,
    mongodbPorts: z.array(port).min(1),
    stripeTo: peers,
    stripePort: port,
    extraEgress: z.array(z.strictObject({ to: peers.optional(), ports: z.array(kubernetes).optional() })),
  }),
  test: z.strictObject({
    enabled: z.boolean(),
    customerId: z.string().regex(/^[A-Za-z0-9_-]{1,255}$/),
    timeoutSeconds: z.int().min(1).max(3_600),
  }),
} as const;
