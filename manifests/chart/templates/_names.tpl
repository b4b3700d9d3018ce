{{- define "ambient.labels" -}}
app: ztunnel
app.kubernetes.io/name: ztunnel
app.kubernetes.io/part-of: istio
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What the chart says itself, and what the user says instead. */}}
{{- define "ambient.settings" -}}
{{- $chart := dict
  "agentNamespace" .Release.Namespace
  "agentPodPrefix" "ztunnel-"
  "clusterId" .Values.istiod.clusterId
  "cniHostRoot" "/host"
  "drainDeadline" (printf "%ds" (int .Values.drainSeconds))
  "pods" "kubernetes"
  "xdsAddress" .Values.istiod.address
  "caAddress" .Values.istiod.address
-}}
{{- toYaml (merge (deepCopy (.Values.settings | default dict)) $chart) }}
{{- end }}

{{/* What a pod is told about itself and the control plane. */}}
{{- define "ambient.environment" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: INSTANCE_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: SERVICE_ACCOUNT
  valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}
{{- end }}
