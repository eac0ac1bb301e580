// Package chart tests charts/mlops-bot: what Helm renders from each of its ci/
// values is decoded strictly, validated by Knative's own code, and held to what
// the bot promises of pods, Secrets, settings and the network.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	networking "knative.dev/networking/pkg/apis/networking/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"
)

const (
	root      = "../.."
	chart     = root + "/charts/mlops-bot"
	namespace = "bot"
)

// helm is the path of the Helm that the Makefile builds, of the version that
// tools/go.mod pins. Another one, or none, would prove nothing: the tests fail.
var helm = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(root + "/bin/helm")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find Helm: %w; run: make %s", err, path)
	}
	return path, nil
})

// template runs `helm template` and returns what it printed.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := helm()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"template", "mlops-bot", chart, "--namespace", namespace, "--kube-version", "1.34.4", "--api-versions", "monitoring.coreos.com/v1"}, args...)
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	// No cluster and no plug-ins of whoever runs this.
	home := t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "none")}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out.String(), nil
}

// knownScheme is Kubernetes' types and Knative's.
var knownScheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, servingv1.AddToScheme, servingv1beta1.AddToScheme,
		eventingv1.AddToScheme, sourcesv1.AddToScheme, networking.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
})

// foreign are kinds whose Go types are not at hand; the test of their templates
// is helm-unittest's.
var foreign = map[string]bool{
	"cert-manager.io/v1, Kind=Certificate":           true,
	"monitoring.coreos.com/v1, Kind=ServiceMonitor":  true,
	"monitoring.coreos.com/v1, Kind=PodMonitor":      true,
	"monitoring.coreos.com/v1, Kind=PrometheusRule":  true,
	"external-secrets.io/v1, Kind=SecretStore":       true,
	"external-secrets.io/v1, Kind=ExternalSecret":    true,
	"bitnami.com/v1alpha1, Kind=SealedSecret":        true,
	"networking.istio.io/v1alpha3, Kind=EnvoyFilter": true,
	"projectcontour.io/v1, Kind=HTTPProxy":           true,
}

// decode reads the documents of a YAML stream as typed objects. Unknown and
// doubled fields fail the test, as does a kind that isn't known.
func decode(t *testing.T, stream string) []runtime.Object {
	t.Helper()
	objects, err := strictly(stream)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func strictly(stream string) ([]runtime.Object, error) {
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, knownScheme(), knownScheme(), json.SerializerOptions{Yaml: true, Strict: true})
	var objects []runtime.Object
	documents := yaml.NewDecoder(strings.NewReader(stream))
	for {
		var node yaml.Node
		if err := documents.Decode(&node); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		var document map[string]any
		if err := node.Decode(&document); err != nil {
			return nil, fmt.Errorf("read the document at line %d: %w", node.Line, err)
		}
		if len(document) == 0 {
			continue // only comments
		}
		u := unstructured.Unstructured{Object: document}
		gvk := u.GroupVersionKind()
		if foreign[gvk.String()] {
			objects = append(objects, &u)
			continue
		}
		b, err := yaml.Marshal(&node)
		if err != nil {
			return nil, fmt.Errorf("write %s %s: %w", gvk.Kind, u.GetName(), err)
		}
		object, _, err := strict.Decode(b, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("decode %s %s: %w", gvk.Kind, u.GetName(), err)
		}
		objects = append(objects, object)
	}
}

// TestDecodingIsStrict shows that every other test of this package would notice a
// template's slip of the pen.
func TestDecodingIsStrict(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ document, want string }{
		"an unknown field":             {"{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {porst: []}}", `unknown field "spec.porst"`},
		"an unknown field of a pod":    {"{apiVersion: serving.knative.dev/v1, kind: Service, spec: {template: {spec: {timeoutSecond: 3}}}}", `unknown field "spec.template.spec.timeoutSecond"`},
		"an unknown field of Knative":  {"{apiVersion: eventing.knative.dev/v1, kind: Trigger, spec: {delivery: {retries: 5}}}", `unknown field "spec.delivery.retries"`},
		"a field in another case":      {"{apiVersion: v1, kind: Service, spec: {clusterip: None}}", `unknown field "spec.clusterip"`},
		"a field twice":                {"apiVersion: v1\nkind: ConfigMap\ndata: {a: x, a: y}", `mapping key "a" already defined`},
		"a text where a number stands": {"{apiVersion: apps/v1, kind: Deployment, spec: {replicas: many}}", "replicas"},
		"a kind that isn't known":      {"{apiVersion: serving.knative.dev/v1, kind: Servce}", `no kind "Servce" is registered`},
		"a version that is gone":       {"{apiVersion: batch/v1beta1, kind: CronJob}", `no kind "CronJob" is registered`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := strictly(test.document); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// values are the chart's ci/ values, by name.
func values(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(chart + "/ci/*-values.yaml")
	if err != nil || len(paths) < 7 {
		t.Fatalf("ci/ has %d values: %v", len(paths), err)
	}
	byName := map[string]string{}
	for _, path := range paths {
		byName[strings.TrimSuffix(filepath.Base(path), "-values.yaml")] = path
	}
	return byName
}

// rendered is what the chart makes of ci/NAME-values.yaml and further arguments.
func rendered(t *testing.T, name string, args ...string) []runtime.Object {
	t.Helper()
	out, err := template(t, append([]string{"--values", values(t)[name]}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

// all picks the objects of one type.
func all[T runtime.Object](objects []runtime.Object) []T {
	var found []T
	for _, o := range objects {
		if x, ok := o.(T); ok {
			found = append(found, x)
		}
	}
	return found
}
