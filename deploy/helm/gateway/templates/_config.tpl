{{/*
gateway.toml from values. Helm's own toToml writes whole numbers as floats, which the gateway refuses; here each value
is written in one line. Secrets and what the chart sets itself are refused by name.
*/}}
{{- define "gateway.toml" -}}
{{- $owned := fromYaml (include "gateway.owned" .) }}
{{- range $section, $keys := .Values.config }}
  {{- range $key, $value := $keys }}
    {{- if hasKey (default dict (get $owned $section)) $key }}
      {{- fail (printf "config.%s.%s is set by the chart: see values.yaml" $section $key) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- if (default dict .Values.config.audit).spool }}
  {{- fail "config.audit.spool needs a persistent volume for each replica, which this chart does not make" }}
{{- end }}
{{- $all := mergeOverwrite (deepCopy .Values.config) $owned }}
{{- range $section, $keys := $all }}
{{- if $keys }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{- include "gateway.tomlSecret" (dict "at" (printf "config.%s.%s" $section $key) "key" $key) }}
{{ $key }} = {{ include "gateway.tomlValue" (dict "at" (printf "config.%s.%s" $section $key) "value" $value) }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
{{- end }}

{{/* What the chart sets, null where it sets nothing: nobody else may. */}}
{{- define "gateway.owned" -}}
server:
  listen: "0.0.0.0:8080"
  admin_listen: "0.0.0.0:9090"
  public_url: {{ .Values.publicUrl | quote }}
  allowed_hosts: {{ .Values.allowedHosts | toJson }}
  drain: {{ printf "%ds" (int .Values.drainSeconds) | quote }}
  notice: null
  tls_cert_file: {{ if .Values.tls.existingSecret }}/run/secrets/tls/tls.crt{{ else }}null{{ end }}
  tls_key_file: {{ if .Values.tls.existingSecret }}/run/secrets/tls/tls.key{{ else }}null{{ end }}
database:
  url: null
  url_file: /run/secrets/gateway/database-url
  migrate_url: null
  migrate_url_file: null
  migrate: false
  data_dir: /var/lib/gateway
keys:
  root_file: /run/secrets/gateway/root.key
  vault_file: {{ if .Values.secrets.vaultKey }}/run/secrets/gateway/vault.key{{ else }}null{{ end }}
audit:
  spool_dir: null
{{- end }}

{{- define "gateway.tomlSecret" -}}
{{- if has .key (list "token" "client_secret" "webhook_secret" "smtp_password" "otlp_authorization") }}
  {{- fail (printf "%s: no value may hold a secret: put it into a Secret, name it in secretFiles, and set %s_file" .at .key) }}
{{- end }}
{{- end }}

{{- define "gateway.tomlValue" -}}
{{- if kindIs "map" .value -}}
{ {{- $at := .at }}{{ $first := true }}
{{- range $key, $value := .value }}
{{- include "gateway.tomlSecret" (dict "at" (printf "%s.%s" $at $key) "key" $key) }}
{{- if not $first }},{{ end }}{{ $first = false }} {{ $key | toJson }} = {{ include "gateway.tomlValue" (dict "at" (printf "%s.%s" $at $key) "value" $value) }}
{{- end }} }
{{- else if kindIs "slice" .value -}}
[{{- $at := .at }}{{- range $index, $value := .value }}{{ if $index }}, {{ end }}{{ include "gateway.tomlValue" (dict "at" (printf "%s[%d]" $at $index) "value" $value) }}{{ end }}]
{{- else if kindIs "float64" .value -}}
{{- if eq (floor .value) .value }}{{ printf "%.0f" .value }}{{ else }}{{ .value }}{{ end }}
{{- else if or (kindIs "bool" .value) (kindIs "int" .value) (kindIs "int64" .value) -}}
{{ .value }}
{{- else -}}
{{ .value | toString | toJson }}
{{- end }}
{{- end }}
