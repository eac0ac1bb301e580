package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// schema is what is used of JSON Schema here.
type schema struct {
	Ref                  string             `json:"$ref"`
	Description          string             `json:"description"`
	Type                 any                `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties any                `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	Defs                 map[string]*schema `json:"$defs"`
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// described walks the values with their schemas and tells where the two differ: every
// value has a schema and every schema a value, with the same words. A value without a
// comment of its own has a schema whose parts have.
func described(s *schema, defs map[string]*schema, node *yaml.Node, path string) []string {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		def := *defs[name]
		def.Description = s.Description
		s = &def
	}
	var problems []string
	if node.Kind != yaml.MappingNode || len(s.Properties) == 0 {
		return nil
	}
	var names []string
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		names = append(names, key.Value)
		child := s.Properties[key.Value]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		if child == nil {
			problems = append(problems, at+" is not in the schema")
			continue
		}
		comment := ""
		for line := range strings.SplitSeq(key.HeadComment, "\n") {
			line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
			if rest, ok := strings.CutPrefix(line, "-- "); ok {
				comment = rest
			} else if comment != "" {
				comment += " " + line
			}
		}
		if comment != child.Description {
			problems = append(problems, at+" is described otherwise: "+cmp.Diff(comment, child.Description))
		}
		if comment == "" && value.Kind != yaml.MappingNode {
			problems = append(problems, at+" is not described")
		}
		problems = append(problems, described(child, defs, value, at)...)
	}
	for name := range s.Properties {
		if !slices.Contains(names, name) && (path != "" || name != "global") && len(node.Content) > 0 {
			problems = append(problems, strings.TrimPrefix(path+"."+name, ".")+" has no default")
		}
	}
	return problems
}

func TestSchemaIsTheValues(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(b, &document); err != nil {
		t.Fatal(err)
	}
	s := readSchema(t)
	for _, problem := range described(s, s.Defs, document.Content[0], "") {
		t.Error(problem)
	}
}

// TestSchemaIsClosed checks that no object of the schema takes unknown keys by
// accident: it refuses them, or says what the values of any key are.
func TestSchemaIsClosed(t *testing.T) {
	t.Parallel()
	open := []string{ // Kubernetes' own, as they stand in a pod
		".global", ".postgresql.affinity", ".redis.affinity", ".postgresql.tolerations[]", ".redis.tolerations[]", ".extraEnv[].valueFrom",
	}
	var walk func(s *schema, path string)
	walk = func(s *schema, path string) {
		if s.Type == "object" && s.AdditionalProperties == nil && !slices.Contains(open, path) {
			t.Errorf("%s takes unknown keys", path)
		}
		if s.AdditionalProperties == true {
			t.Errorf("%s takes anything", path)
		}
		for name, p := range s.Properties {
			walk(p, path+"."+name)
		}
		if s.Items != nil {
			walk(s.Items, path+"[]")
		}
	}
	s := readSchema(t)
	walk(s, "")
	for name, d := range s.Defs {
		walk(d, "#"+name)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ values, set, want string }{
		"an unknown key":                {"app", "replicas=3", "additional properties 'replicas' not allowed"},
		"an unknown key of a function":  {"app", "functions.detect.maxPods=3", "at '/functions/detect': additional properties 'maxPods' not allowed"},
		"an unknown key of a store":     {"app", "postgresql.persistence.sizee=3Gi", "additional properties 'sizee' not allowed"},
		"an unknown program's digest":   {"app", "image.digests.wbhook=sha256:x", "additional properties 'wbhook' not allowed"},
		"a function too few":            {"app", "functions.notify=null", "missing property 'notify'"},
		"without a bound":               {"app", "functions.webhook.maxScale=0", "minimum: got 0, want 1"},
		"a log level that is none":      {"app", "logLevel=info", "value must be one of 'DEBUG', 'INFO', 'WARN', 'ERROR'"},
		"more at least than at most":    {"app", "functions.webhook.minScale=11", "functions.webhook.minScale (11) is above its maxScale (10)"},
		"a target above what it takes":  {"app", "functions.repair.target=9", "functions.repair.target (9) is above its containerConcurrency (8)"},
		"an unknown broker":             {"app", "broker.class=NATS", "broker.class NATS is unknown here: set broker.url"},
		"a certificate for nobody":      {"app", "domain.tls.issuerRef.name=x", "domain.tls.issuerRef needs domain.host and domain.tls.secret"},
		"no webhook secret":             {"app", "github.existingSecret=", "github.webhookSecret is needed, or github.existingSecret"},
		"neither App nor token":         {"token", "github.token=", "github.appID is needed, or github.token for one repository without an App"},
		"an App without its key":        {"token", "github.appID=3", "github.privateKey (PEM) is needed beside github.appID"},
		"a key that is none":            {"token", "github.privateKey=AbCdEf", "github.privateKey is no PEM file"},
		"no encryption key":             {"token", "keys.encryptionKey=", "keys.encryptionKey is needed (openssl rand -base64 32)"},
		"a short encryption key":        {"token", "keys.encryptionKey=AbCdEf", "minLength: got 6, want 44"},
		"a password that breaks URLs":   {"token", "redis.auth.password=Ab/CdEf", "redis.auth.password may hold letters"},
		"no database":                   {"app", "postgresql.enabled=false", "postgresql.enabled=false needs postgresql.external.url"},
		"a network that is none":        {"app", "trustedProxies={10.0.0.1}", "'10.0.0.1' does not match pattern"},
		"a name too long for Services":  {"app", "fullnameOverride=a-name-of-more-than-forty-characters-is-too-long", "maxLength: got 48, want 40"},
		"an unknown recipient's format": {"everything", "backup.secrets.recipients={AGE-SECRET-KEY-1}", "does not match pattern '^age1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := template(t, "--values", values(t)[test.values], "--set", test.set)
			if err == nil {
				t.Fatal("it is taken")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("it is refused with %v, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "AbCdEf") {
				t.Errorf("the message shows a secret: %v", err)
			}
		})
	}
}
