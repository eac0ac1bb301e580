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

// helm is Helm's path: the one that the Makefile builds, built here where it
// hasn't been.
var helm = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(root + "/bin/helm")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	build := exec.Command("go", "build", "-trimpath", "-o", path, "helm.sh/helm/v3/cmd/helm")
	build.Dir = root + "/tools"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build Helm: %w: %s", err, out)
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
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, knownScheme(), knownScheme(), json.SerializerOptions{Yaml: true, Strict: true})
	var objects []runtime.Object
	documents := yaml.NewDecoder(strings.NewReader(stream))
	for {
		var node yaml.Node
		if err := documents.Decode(&node); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read a document: %v", err)
		}
		var document map[string]any
		if err := node.Decode(&document); err != nil {
			t.Fatalf("line %d: %v", node.Line, err)
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
			t.Fatal(err)
		}
		object, _, err := strict.Decode(b, nil, nil)
		if err != nil {
			t.Fatalf("decode %s %s: %v", gvk.Kind, u.GetName(), err)
		}
		objects = append(objects, object)
	}
	return objects
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
