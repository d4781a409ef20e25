{{- define "svo.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Names end at 50 characters: suffixes are added to them. */}}
{{- define "svo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "svo.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "svo.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "svo.selectorLabels" -}}
app.kubernetes.io/name: {{ include "svo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What tells one shard from the others: nothing where there is one. The argument is a list of the context and its number. */}}
{{- define "svo.shardSuffix" -}}
{{- if gt (int (index . 0).Values.shards) 1 -}}
-{{ index . 1 }}
{{- end -}}
{{- end -}}

{{- define "svo.shardLabel" -}}
{{- if gt (int (index . 0).Values.shards) 1 -}}
secrets.abeja.io/shard: {{ index . 1 | quote }}
{{- end -}}
{{- end -}}

{{- define "svo.labels" -}}
{{ include "svo.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "svo.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "svo.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "svo.clusterResourceNamespace" -}}
{{- .Values.clusterResourceNamespace | default .Release.Namespace -}}
{{- end -}}

{{/* Cluster-wide objects carry the namespace, so that two releases of one name do not collide. */}}
{{- define "svo.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "svo.fullname" .) -}}
{{- end -}}

{{- define "svo.subject" -}}
- kind: ServiceAccount
  name: {{ include "svo.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Sources are read; targets are created, patched, deleted. */}}
{{- define "svo.secretVerbs" -}}
{{- if .Values.secrets.watch -}}
[get, list, watch, create, patch, delete]
{{- else -}}
[get, create, patch, delete]
{{- end -}}
{{- end -}}

{{- define "svo.namespacedRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: {{ include "svo.secretVerbs" . }}
# CA bundles of connections.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end -}}
