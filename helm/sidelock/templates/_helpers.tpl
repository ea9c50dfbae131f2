{{/* Names, labels and fragments that more than one object has. */}}

{{/* At most 40 characters: pods, volume claims and Services get more behind it, and a name has 63. */}}
{{- define "sidelock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sidelock.core" -}}{{ include "sidelock.fullname" . }}-core{{- end -}}
{{- define "sidelock.nodes" -}}{{ include "sidelock.fullname" . }}-nodes{{- end -}}
{{- define "sidelock.injector" -}}{{ include "sidelock.fullname" . }}-injector{{- end -}}
{{- define "sidelock.keeper" -}}{{ include "sidelock.fullname" . }}-keeper{{- end -}}
{{- define "sidelock.hook" -}}{{ include "sidelock.fullname" . }}-hook{{- end -}}
{{- define "sidelock.test" -}}{{ include "sidelock.fullname" . }}-test{{- end -}}

{{/* What finds the pods of one component: dict "root" $ "component" "core". Never changes between versions. */}}
{{- define "sidelock.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "sidelock.labels" -}}
{{ include "sidelock.selector" . }}
app.kubernetes.io/part-of: sidelock
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Labels of pods: dict "root" $ "component" "core" "more" .Values.core.podLabels. Ours never get a sidecar. Without the
versions of chart and app: a new chart with the same image restarts nobody.
*/}}
{{- define "sidelock.podLabels" -}}
{{ include "sidelock.selector" . }}
app.kubernetes.io/part-of: sidelock
sidelock.dev/inject: "false"
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* dict "image" .Values.image "tag" "0.1.0" */}}
{{- define "sidelock.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .tag .image.tag }}
{{- end -}}
{{- end -}}

{{- define "sidelock.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Pods that pass the restricted Pod Security Standard. Where the platform gives uids, none is named. */}}
{{- define "sidelock.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  {{- with .Values.security.uid }}
  runAsUser: {{ int . }}
  runAsGroup: {{ int . }}
  fsGroup: {{ int . }}
  # A volume with many files is not gone through at every start.
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "sidelock.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* dict "root" $ "component" "core" "how" "preferred" */}}
{{- define "sidelock.antiAffinity" -}}
{{- if ne .how "none" -}}
affinity:
  podAntiAffinity:
    {{- if eq .how "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "sidelock.selector" . | nindent 12 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "sidelock.selector" . | nindent 14 }}
    {{- end }}
{{- end -}}
{{- end -}}

{{/* Where a pod may run, of a component's values. */}}
{{- define "sidelock.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The name of one node: dict "root" $ "ordinal" 0. As other nodes and sidecars call it. */}}
{{- define "sidelock.node" -}}
{{ include "sidelock.core" .root }}-{{ .ordinal }}.{{ include "sidelock.nodes" .root }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}:5626
{{- end -}}

{{/* The nodes that sidecars begin with; these tell them of others. */}}
{{- define "sidelock.coreList" -}}
{{- $nodes := list -}}
{{- range $ordinal := until (int .Values.core.replicas) -}}
{{- $nodes = append $nodes (include "sidelock.node" (dict "root" $ "ordinal" $ordinal)) -}}
{{- end -}}
{{- join "," $nodes -}}
{{- end -}}

{{- define "sidelock.scheme" -}}{{ .Values.tls.enabled | ternary "https" "http" }}{{- end -}}

{{/* The largest cell that the chart knows: nodes beyond it have no entry in the config map. */}}
{{- define "sidelock.ordinalsMax" -}}9{{- end -}}

{{/* How many nodes must be up: more than half. */}}
{{- define "sidelock.quorum" -}}{{ add1 (div (int .Values.core.replicas) 2) }}{{- end -}}

{{/* The label `cell` of all that is scraped: tells cells apart in one Prometheus. */}}
{{- define "sidelock.cell" -}}{{ .Release.Namespace }}/{{ include "sidelock.fullname" . }}{{- end -}}

{{- define "sidelock.tokensConfigMap" -}}
{{- if eq .Values.tokens.source "configMap" -}}
{{ .Values.tokens.configMap }}
{{- else -}}
{{ include "sidelock.fullname" . }}-tokens
{{- end -}}
{{- end -}}

{{- define "sidelock.coreSecret" -}}
{{- if eq .Values.tls.source "secret" -}}
{{ .Values.tls.secret.core }}
{{- else -}}
{{ include "sidelock.core" . }}-tls
{{- end -}}
{{- end -}}

{{/* The webhook has TLS even if the core has none: an API server calls nothing else. */}}
{{- define "sidelock.injectorSecret" -}}
{{- if eq .Values.tls.source "secret" -}}
{{ .Values.tls.secret.injector }}
{{- else -}}
{{ include "sidelock.injector" . }}-tls
{{- end -}}
{{- end -}}

{{/* Names of a Service: dict "root" $ "name" "sidelock-core". As JSON, for include | fromJsonArray. */}}
{{- define "sidelock.serviceNames" -}}
{{- $ns := .root.Release.Namespace -}}
{{- list .name (printf "%s.%s" .name $ns) (printf "%s.%s.svc" .name $ns) (printf "%s.%s.svc.%s" .name $ns .root.Values.clusterDomain) | toJson -}}
{{- end -}}

{{/*
Names in the nodes' certificate: the Service, every node by a wildcard (so that a cell grows without a new one), and this
machine, for the commands that run inside a pod.
*/}}
{{- define "sidelock.coreNames" -}}
{{- $service := include "sidelock.serviceNames" (dict "root" . "name" (include "sidelock.core" .)) | fromJsonArray -}}
{{- $nodes := printf "*.%s.%s.svc" (include "sidelock.nodes" .) .Release.Namespace -}}
{{- concat $service (list $nodes (printf "%s.%s" $nodes .Values.clusterDomain) "localhost") | toJson -}}
{{- end -}}
