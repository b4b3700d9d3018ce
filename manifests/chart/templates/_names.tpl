{{- define "ambient.labels" -}}
app: ztunnel
app.kubernetes.io/name: ztunnel
app.kubernetes.io/part-of: istio
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* A reference with a slash is whole, as upstream's charts have it. */}}
{{- define "ambient.image" -}}
{{- if contains "/" .Values.image -}}
{{ .Values.image }}
{{- else -}}
{{ printf "%s/%s:%s" (required "hub: where is the image from?" .Values.hub) .Values.image (toString (required "tag: which image?" .Values.tag)) }}
{{- end -}}
{{- end }}

{{/* Where the runtime of each kind of node looks: the facts of the agent's profiles, which a test compares. */}}
{{- define "ambient.places" -}}
{{- $etc := "/etc/cni/net.d" -}}
{{- $opt := "/opt/cni/bin" -}}
{{- $k3s := "/var/lib/rancher/k3s/agent/etc/cni/net.d" -}}
{{- $snap := "/var/snap/microk8s/current" -}}
{{- $places := dict
  "k3s" (dict "conf" $k3s "bin" "/var/lib/rancher/k3s/data/cni")
  "k3d" (dict "conf" $k3s "bin" "/bin")
  "gke" (dict "conf" $etc "bin" "/home/kubernetes/bin")
  "openshift" (dict "conf" "/etc/cni/multus/net.d" "bin" "/var/lib/cni/bin")
  "microk8s" (dict "conf" (print $snap "/args/cni-network") "bin" (print $snap "/opt/cni/bin"))
  "minikube" (dict "conf" $etc "bin" $opt "netns" "/var/run/docker/netns")
-}}
{{- $place := get $places .Values.platform | default (dict "conf" $etc "bin" $opt) -}}
{{- toYaml (dict
  "conf" (.Values.cniConfDir | default (get $place "conf"))
  "bin" (.Values.cniBinDir | default (get $place "bin"))
  "netns" (.Values.cniNetnsDir | default (get $place "netns") | default "/var/run/netns")
) -}}
{{- end }}

{{/* The address of a service of istiod. */}}
{{- define "ambient.istiod" -}}
{{- printf "istiod%s.%s.svc:15012" (ternary "" (printf "-%s" .Values.revision) (empty .Values.revision)) .Values.istioNamespace -}}
{{- end }}

{{/* What the chart says itself, and what the user says instead. */}}
{{- define "ambient.settings" -}}
{{- $places := include "ambient.places" . | fromYaml -}}
{{- $grace := max 0 (sub (int .Values.terminationGracePeriodSeconds) 5) -}}
{{- $chart := dict
  "agentNamespace" .Release.Namespace
  "agentPodPrefix" "ztunnel-"
  "clusterId" .Values.multiCluster.clusterName
  "network" .Values.network
  "rootNamespace" .Values.istioNamespace
  "cniHostRoot" "/host"
  "cniProfile" .Values.platform
  "cniConfDir" $places.conf
  "cniBinDir" $places.bin
  "netnsDirs" (list $places.netns)
  "drainDeadline" (printf "%ds" (min 30 $grace))
  "successionDeadline" (printf "%ds" $grace)
  "excludeNamespaces" .Values.excludeNamespaces
  "ipv6" .Values.ambient.ipv6
  "logFormat" (ternary "json" "plain" .Values.logAsJson)
  "logLevel" .Values.logLevel
  "pods" "kubernetes"
  "procDir" "/host/proc"
  "stateDir" "/run/ambient/state"
  "xdsAddress" (.Values.xdsAddress | default (include "ambient.istiod" .))
  "caAddress" (.Values.caAddress | default (include "ambient.istiod" .))
-}}
{{- if not (kindIs "invalid" .Values.chained) }}
{{- $_ := set $chart "cniMode" (ternary "chained" "standalone" .Values.chained) }}
{{- end }}
{{- with .Values.podCidrs }}
{{- $_ := set $chart "podCidrs" . }}
{{- end }}
{{- with .Values.ambient.enablementSelectors }}
{{- $_ := set $chart "enablementSelectors" . }}
{{- end }}
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
