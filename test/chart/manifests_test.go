package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func readFile(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{root}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestManifestsAreTheChart holds config/knative to what the chart renders.
func TestManifestsAreTheChart(t *testing.T) {
	t.Parallel()
	if _, err := helm(); err != nil { // the script finds it in bin/
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(root, "tools/config-knative"), "check").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestManifests(t *testing.T) {
	t.Parallel()
	var kustomization struct {
		Namespace string   `yaml:"namespace"`
		Resources []string `yaml:"resources"`
		Images    []struct{ Name, NewName, NewTag string }
	}
	if err := yaml.Unmarshal([]byte(strings.NewReplacer("newName", "newname", "newTag", "newtag").Replace(readFile(t, "config/knative/kustomization.yaml"))), &kustomization); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(root, "config/knative/manifests/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"namespace.yaml"}
	var objects []runtime.Object
	for _, path := range paths {
		want = append(want, "manifests/"+filepath.Base(path))
		manifest := readFile(t, "config/knative/manifests", filepath.Base(path))
		if strings.Contains(manifest, "kind: Secret\n") {
			t.Errorf("%s holds a Secret: they are for the operator to fill in", path)
		}
		// ko replaces its references; Knative would refuse them.
		objects = append(objects, decode(t, strings.ReplaceAll(manifest, "ko://github.com/", "ghcr.io/"))...)
	}
	if diff := cmp.Diff(want, kustomization.Resources); diff != "" {
		t.Errorf("kustomization.yaml's resources (-there +named):\n%s", diff)
	}
	if n := valid(t, objects); n < 20 {
		t.Errorf("only %d objects of Knative's", n)
	}

	// Every image that ko would build has a name in kustomization.yaml, with the chart's version.
	version := regexp.MustCompile(`(?m)^appVersion: (\S+)$`).FindStringSubmatch(readFile(t, "charts/mlops-bot/Chart.yaml"))[1]
	built := map[string]bool{}
	for _, p := range pods(objects) {
		for _, c := range p.containers() {
			if name, ok := strings.CutPrefix(c.Image, "ghcr.io/mlops-bot/mlops-bot/cmd/"); ok {
				built[name] = true
			}
		}
	}
	for _, image := range kustomization.Images {
		name := strings.TrimPrefix(image.Name, "ko://github.com/mlops-bot/mlops-bot/cmd/")
		if !built[name] || image.NewName != "ghcr.io/mlops-bot/"+name || image.NewTag != version {
			t.Errorf("kustomization.yaml names %+v", image)
		}
		if _, err := os.Stat(filepath.Join(root, "cmd", name)); err != nil {
			t.Errorf("ko has nothing to build: %v", err)
		}
		delete(built, name)
	}
	if len(built) > 0 {
		t.Errorf("kustomization.yaml does not name %v", built)
	}

	// The example has the Secrets that are asked for, and nothing that works. Its name
	// keeps it from whoever applies the whole folder over the Secrets that they have.
	example := readFile(t, "config/knative/secrets.yaml.example")
	var secrets []*corev1.Secret
	for _, s := range all[*corev1.Secret](decode(t, example)) {
		if s.Namespace != kustomization.Namespace {
			t.Errorf("Secret %s is for the namespace %q", s.Name, s.Namespace)
		}
		for key, v := range s.StringData {
			if !strings.Contains(v, "CHANGE-ME") {
				t.Errorf("%s's %s is no placeholder", s.Name, key)
			}
		}
		secrets = append(secrets, s)
	}
	keys := map[string][]string{}
	for _, s := range secrets {
		for key := range s.StringData {
			keys[s.Name] = append(keys[s.Name], key)
		}
	}
	provides(t, "secrets.yaml.example", keys, objects)
}

// provides checks that Secrets (name to keys) have every key that pods can't start without.
func provides(t *testing.T, who string, keys map[string][]string, objects []runtime.Object) {
	t.Helper()
	for _, p := range pods(objects) {
		for _, c := range p.containers() {
			for _, e := range c.Env {
				if e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil {
					continue
				}
				if ref := e.ValueFrom.SecretKeyRef; (ref.Optional == nil || !*ref.Optional) && !slices.Contains(keys[ref.Name], ref.Key) {
					t.Errorf("%s: %s needs %s of %s, which has %v", who, p.name, ref.Key, ref.Name, keys[ref.Name])
				}
			}
		}
		for _, v := range p.spec.Volumes {
			if v.Secret == nil {
				continue
			}
			for _, item := range v.Secret.Items {
				if !slices.Contains(keys[v.Secret.SecretName], item.Key) {
					t.Errorf("%s: %s needs %s of %s, which has %v", who, p.name, item.Key, v.Secret.SecretName, keys[v.Secret.SecretName])
				}
			}
		}
	}
}

// TestExamplesOfSecrets checks that each way to have the Secrets gives all that the
// example's values ask for.
func TestExamplesOfSecrets(t *testing.T) {
	t.Parallel()
	out, err := template(t, "--values", filepath.Join(chart, "examples/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, out)
	if made := all[*corev1.Secret](objects); len(made) > 0 {
		t.Errorf("the chart makes %s, though all Secrets exist", made[0].Name)
	}
	paths, err := filepath.Glob(filepath.Join(chart, "examples/secrets/*.yaml"))
	if err != nil || len(paths) != 4 {
		t.Fatalf("examples: %v, %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			keys := map[string][]string{}
			for _, u := range all[*unstructured.Unstructured](decode(t, string(b))) {
				switch u.GetKind() {
				case "SealedSecret":
					data, _, _ := unstructured.NestedMap(u.Object, "spec", "encryptedData")
					for key := range data {
						keys[u.GetName()] = append(keys[u.GetName()], key)
					}
				case "ExternalSecret":
					target, _, _ := unstructured.NestedString(u.Object, "spec", "target", "name")
					data, _, _ := unstructured.NestedSlice(u.Object, "spec", "data")
					for _, d := range data {
						keys[target] = append(keys[target], d.(map[string]any)["secretKey"].(string))
					}
				}
			}
			if len(keys["mlops-bot-notify"]) == 0 {
				t.Error("no channel's secret")
			}
			provides(t, path, keys, objects)
		})
	}
}

// TestExamplesOfTheEdge holds the limits to one another: 100 a second, 200 at once.
func TestExamplesOfTheEdge(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"traefik.yaml":       {"average: 100\n", "period: 1s\n", "burst: 200\n"},
		"kourier.yaml":       {"max_tokens: 200,", "tokens_per_fill: 10,", "fill_interval: 0.1s"},
		"istio.yaml":         {"max_tokens: 200\n", "tokens_per_fill: 10\n", "fill_interval: 0.1s\n"},
		"contour.yaml":       {"requests: 100\n", "unit: second\n", "burst: 100\n"},
		"inner-gateway.yaml": {"port: 8001"},
	} {
		example := readFile(t, "charts/mlops-bot/examples/edge", name)
		objects := decode(t, example)
		if len(objects) == 0 {
			t.Errorf("%s is empty", name)
		}
		for _, p := range pods(objects) {
			for _, problem := range unrestricted(p) {
				t.Errorf("%s: %s: %s", name, p.name, problem)
			}
		}
		for _, m := range all[*corev1.ConfigMap](objects) {
			for key, inner := range m.Data {
				if err := yaml.Unmarshal([]byte(inner), new(map[string]any)); err != nil {
					t.Errorf("%s: %s: %v", name, key, err)
				}
			}
		}
		for _, w := range want {
			if !strings.Contains(example, w) {
				t.Errorf("%s lacks %q", name, w)
			}
		}
	}
}
