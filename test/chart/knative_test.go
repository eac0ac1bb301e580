package chart

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"

	"github.com/mlops-bot/mlops-bot/shared/events"
)

// shipped are the feature flags that Knative Eventing is installed with: its code's
// own defaults lack those that have become beta.
var shipped = sync.OnceValues(func() (feature.Flags, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "knative.dev/eventing").Output()
	if err != nil {
		return nil, fmt.Errorf("find Knative Eventing's module: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config/core/configmaps/features.yaml"))
	if err != nil {
		return nil, err
	}
	var features struct {
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal(b, &features); err != nil {
		return nil, err
	}
	return feature.NewFlagsConfigFromMap(features.Data)
})

// creating is the context of an object that is made in a cluster as Knative installs it.
func creating(t *testing.T) context.Context {
	t.Helper()
	flags, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	return apis.WithinCreate(feature.ToContext(t.Context(), flags))
}

// valid fails the test for every Knative object that Knative itself would refuse, or
// warn of. It returns how many there were.
func valid(t *testing.T, objects []runtime.Object) int {
	t.Helper()
	for _, refusal := range refused(t, objects) {
		t.Errorf("Knative refuses %s", refusal)
	}
	return len(knatives(objects))
}

// refused sets Knative's defaults in its objects, and returns what Knative's validation
// has against each.
func refused(t *testing.T, objects []runtime.Object) []string {
	t.Helper()
	var refusals []string
	for _, o := range knatives(objects) {
		ctx := creating(t)
		o.SetDefaults(ctx)
		if err := o.Validate(ctx); err != nil { // warnings too
			refusals = append(refusals, fmt.Sprintf("%T: %v", o, err))
		}
	}
	return refusals
}

type knative interface {
	apis.Defaultable
	apis.Validatable
}

func knatives(objects []runtime.Object) []knative {
	var found []knative
	for _, o := range objects {
		if x, ok := o.(knative); ok {
			found = append(found, x)
		}
	}
	return found
}

// scaling are the annotations that Knative's autoscaler reads.
var scaling = slices.Concat(autoscaling.MinScaleAnnotation, autoscaling.MaxScaleAnnotation, autoscaling.MetricAnnotation, autoscaling.TargetAnnotation,
	autoscaling.ScaleDownDelayAnnotation, autoscaling.WindowAnnotation)

func TestKnativeTakesEveryObject(t *testing.T) {
	t.Parallel()
	triggers := 0
	for _, r := range events.Routes() {
		triggers += len(r.Consumers)
	}
	for name := range values(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Four functions, a Broker, a PingSource, and the Triggers.
			objects := rendered(t, name)
			if n := valid(t, objects); n < 6+triggers {
				t.Errorf("only %d objects of Knative's, want at least %d", n, 6+triggers)
			}
			// A misspelt annotation is none that Knative would refuse.
			for _, s := range all[*servingv1.Service](objects) {
				for name := range s.Spec.Template.Annotations {
					if strings.HasPrefix(name, autoscaling.GroupName) && !slices.Contains(scaling, name) {
						t.Errorf("%s: Knative doesn't know the annotation %s", s.Name, name)
					}
				}
			}
		})
	}
}

// TestKnativeWouldRefuse shows that the test above can fail.
func TestKnativeWouldRefuse(t *testing.T) {
	t.Parallel()
	stream, err := template(t, "--values", values(t)["everything"])
	if err != nil {
		t.Fatal(err)
	}
	pod := func(change func(*corev1.PodSpec)) func([]runtime.Object) {
		return func(objects []runtime.Object) {
			change(&all[*servingv1.Service](objects)[0].Spec.Template.Spec.PodSpec)
		}
	}
	annotation := func(name, value string) func([]runtime.Object) {
		return func(objects []runtime.Object) {
			all[*servingv1.Service](objects)[0].Spec.Template.Annotations[name] = value
		}
	}
	for name, test := range map[string]struct {
		spoil func([]runtime.Object)
		want  string
	}{
		"a host's network":   {pod(func(p *corev1.PodSpec) { p.HostNetwork = true }), "hostNetwork"},
		"a node's name":      {pod(func(p *corev1.PodSpec) { p.NodeSelector = map[string]string{"disk": "ssd"} }), "nodeSelector"},
		"a grace of its own": {pod(func(p *corev1.PodSpec) { p.TerminationGracePeriodSeconds = new(int64) }), "terminationGracePeriodSeconds"},
		"a folder of the node": {pod(func(p *corev1.PodSpec) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
			p.Containers[0].VolumeMounts = append(p.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "node", MountPath: "/node"})
		}), "volumes"},
		"two ports": {pod(func(p *corev1.PodSpec) {
			p.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}, {ContainerPort: 9090}}
		}), "ports"},
		"a capability": {pod(func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
		}), "capabilities.add"},
		"a hook of the container": {pod(func(p *corev1.PodSpec) { p.Containers[0].Lifecycle = &corev1.Lifecycle{} }), "lifecycle"},
		"a scale that is none":    {annotation("autoscaling.knative.dev/min-scale", "many"), "min-scale"},
		"less at most than least": {annotation("autoscaling.knative.dev/min-scale", "11"), "max-scale"},
		"a timeout beyond the bound": {func(objects []runtime.Object) {
			all[*servingv1.Service](objects)[0].Spec.Template.Spec.TimeoutSeconds = new(int64(601))
		}, "timeoutSeconds"},
		"a trigger of no broker": {func(objects []runtime.Object) { all[*eventingv1.Trigger](objects)[0].Spec.Broker = "" }, "broker"},
		"a filter that is none": {func(objects []runtime.Object) {
			all[*eventingv1.Trigger](objects)[0].Spec.Filter.Attributes["Not-An-Attribute"] = "x"
		}, "Not-An-Attribute"},
		"a backoff that is none": {func(objects []runtime.Object) {
			*all[*eventingv1.Trigger](objects)[0].Spec.Delivery.BackoffDelay = "1s"
		}, "backoffDelay"},
		"a clock that never ticks": {func(objects []runtime.Object) { all[*sourcesv1.PingSource](objects)[0].Spec.Schedule = "*/5 * * *" }, "schedule"},
		"a clock without a sink": {func(objects []runtime.Object) {
			all[*sourcesv1.PingSource](objects)[0].Spec.Sink = duckv1.Destination{}
		}, "sink"},
		"a broker's config in part": {func(objects []runtime.Object) {
			all[*eventingv1.Broker](objects)[0].Spec.Config = &duckv1.KReference{Kind: "ConfigMap"}
		}, "config"},
		"a name for nothing": {func(objects []runtime.Object) {
			all[*servingv1beta1.DomainMapping](objects)[0].Spec.Ref = duckv1.KReference{}
		}, "ref"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := decode(t, stream)
			test.spoil(objects)
			refusals := refused(t, objects)
			if len(refusals) != 1 || !strings.Contains(refusals[0], test.want) {
				t.Errorf("Knative refuses %q, want one refusal with %q", refusals, test.want)
			}
		})
	}
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	services := map[string]*servingv1.Service{}
	for _, s := range all[*servingv1.Service](rendered(t, "app")) {
		services[strings.TrimPrefix(s.Name, "mlops-bot-")] = s
	}
	for name, want := range map[string]struct{ maxScale, visibility string }{
		"webhook": {"10", ""},
		"detect":  {"8", "cluster-local"},
		"repair":  {"8", "cluster-local"},
		"notify":  {"8", "cluster-local"},
	} {
		s := services[name]
		if s == nil {
			t.Errorf("%s is not there", name)
			continue
		}
		template := s.Spec.Template
		got := map[string]string{
			"min":        template.Annotations["autoscaling.knative.dev/min-scale"],
			"max":        template.Annotations["autoscaling.knative.dev/max-scale"],
			"visibility": s.Labels["networking.knative.dev/visibility"],
			"timeout":    strconv.FormatInt(*template.Spec.TimeoutSeconds, 10),
			"image":      template.Spec.Containers[0].Image,
		}
		if diff := cmp.Diff(map[string]string{
			"min": "0", "max": want.maxScale, "visibility": want.visibility, "timeout": "300", "image": "ghcr.io/mlops-bot/" + name + ":0.3.0",
		}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		c := template.Spec.Containers[0]
		if workers := value(c.Env, "MAX_WORKERS"); workers != strconv.FormatInt(*template.Spec.ContainerConcurrency, 10) {
			t.Errorf("%s does %s pieces of work at once, but takes %d requests", name, workers, *template.Spec.ContainerConcurrency)
		}
		if c.LivenessProbe.HTTPGet.Path != "/health/live" || c.ReadinessProbe.HTTPGet.Path != "/health/ready" {
			t.Errorf("%s is asked %s and %s", name, c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path)
		}
	}
	if len(services) != 4 {
		t.Errorf("%d functions, want 4", len(services))
	}
}

// TestTriggersAreTheRoutes holds the chart to the program's own table of who consumes what.
func TestTriggersAreTheRoutes(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile(filepath.Join(root, "shared/events/routes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join(chart, "files/routes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(program), string(copied)); diff != "" {
		t.Errorf("charts/mlops-bot/files/routes.yaml is not shared/events/routes.yaml (-program +chart):\n%s", diff)
	}

	type trigger struct {
		Filter             map[string]string
		To, Broker, Letter string
	}
	var want, got []trigger
	for _, route := range events.Routes() {
		for _, consumer := range route.Consumers {
			filter := map[string]string{"type": route.Type}
			for k, v := range route.When {
				filter[k] = v
			}
			want = append(want, trigger{
				filter, "mlops-bot-" + consumer, "mlops-bot",
				"http://mlops-bot-service.bot.svc.cluster.local:9090/dead-letters/" + consumer,
			})
		}
	}
	for _, tr := range all[*eventingv1.Trigger](rendered(t, "app")) {
		got = append(got, trigger{tr.Spec.Filter.Attributes, tr.Spec.Subscriber.Ref.Name, tr.Spec.Broker, tr.Spec.Delivery.DeadLetterSink.URI.String()})
		if *tr.Spec.Delivery.Retry != 5 || string(*tr.Spec.Delivery.BackoffPolicy) != "exponential" || *tr.Spec.Delivery.BackoffDelay != "PT1S" || *tr.Spec.Delivery.Timeout != "PT270S" {
			t.Errorf("%s is delivered otherwise: %+v", tr.Name, tr.Spec.Delivery)
		}
	}
	byAll := func(a, b trigger) int {
		return strings.Compare(a.Filter["type"]+a.Filter["function"]+a.To, b.Filter["type"]+b.Filter["function"]+b.To)
	}
	slices.SortFunc(want, byAll)
	slices.SortFunc(got, byAll)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("triggers (-want +got):\n%s", diff)
	}
}

// TestTimesAreInOrder checks handler < delivery < revision: else the broker gives up
// on what is still being done, or Knative cuts off what the broker waits for.
func TestTimesAreInOrder(t *testing.T) {
	t.Parallel()
	const handler = 240 * time.Second
	objects := rendered(t, "app")
	delivery := time.Duration(0)
	for _, tr := range all[*eventingv1.Trigger](objects) {
		d, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(*tr.Spec.Delivery.Timeout, "PT")))
		if err != nil {
			t.Fatal(err)
		}
		delivery = max(delivery, d)
	}
	for _, s := range all[*servingv1.Service](objects) {
		revision := time.Duration(*s.Spec.Template.Spec.TimeoutSeconds) * time.Second
		if handler >= delivery || delivery >= revision {
			t.Errorf("%s: handler %s, delivery %s, revision %s", s.Name, handler, delivery, revision)
		}
	}
}

func TestBrokers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		sink string
	}{
		"MTChannelBasedBroker": {nil, "http://broker-ingress.knative-eventing.svc.cluster.local/bot/mlops-bot"},
		"Kafka":                {[]string{"--set", "broker.class=Kafka"}, "http://kafka-broker-ingress.knative-eventing.svc.cluster.local/bot/mlops-bot"},
		"KafkaNamespaced":      {[]string{"--set", "broker.class=KafkaNamespaced"}, "http://kafka-broker-ingress.bot.svc.cluster.local/bot/mlops-bot"},
		"RabbitMQBroker":       {[]string{"--set", "broker.class=RabbitMQBroker"}, "http://mlops-bot-broker-ingress.bot.svc.cluster.local"},
		"another":              {[]string{"--set", "broker.class=Mine,broker.url=http://mine.example/x"}, "http://mine.example/x"},
		"another name and domain": {
			[]string{"--set", "broker.name=events,clusterDomain=corp.test"}, "http://broker-ingress.knative-eventing.svc.corp.test/bot/events",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := rendered(t, "app", test.args...)
			valid(t, objects)
			for _, s := range all[*servingv1.Service](objects) {
				if sink := value(s.Spec.Template.Spec.Containers[0].Env, "K_SINK"); sink != test.sink {
					t.Errorf("%s publishes to %s, want %s", s.Name, sink, test.sink)
				}
			}
			broker := all[*eventingv1.Broker](objects)[0]
			for _, tr := range all[*eventingv1.Trigger](objects) {
				if tr.Spec.Broker != broker.Name {
					t.Errorf("%s hangs on %s, not on %s", tr.Name, tr.Spec.Broker, broker.Name)
				}
			}
			tick := all[*sourcesv1.PingSource](objects)[0]
			if tick.Spec.Sink.Ref.Name != broker.Name || tick.Spec.Schedule != "*/5 * * * *" {
				t.Errorf("the tick goes to %s at %s", tick.Spec.Sink.Ref.Name, tick.Spec.Schedule)
			}
		})
	}
}

func TestConnectionsStayBelowPostgres(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		set  string
		want int // connections of a pod
		err  string
	}{
		"as it comes":              {"", 2, ""},
		"a larger Postgres":        {"postgresql.maxConnections=300", 8, ""},
		"never above ten":          {"postgresql.maxConnections=5000", 10, ""},
		"fewer pods":               {"functions.webhook.maxScale=2,functions.detect.maxScale=2,functions.repair.maxScale=2,functions.notify.maxScale=2", 10, ""},
		"one pod each":             {"autoscaling.enabled=false", 10, ""},
		"the operator's own bound": {"postgresql.maxConnections=300,database.maxConnectionsPerPod=3", 3, ""},
		"too many pods":            {"functions.repair.maxScale=15", 0, "lower functions.*.maxScale, or raise postgresql.maxConnections"},
		"too large a reserve":      {"database.reservedConnections=40", 0, "of which 40 are reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--values", values(t)["app"]}
			if test.set != "" {
				args = append(args, "--set", test.set)
			}
			out, err := template(t, args...)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range all[*servingv1.Service](decode(t, out)) {
				if got := value(s.Spec.Template.Spec.Containers[0].Env, "DATABASE_MAX_CONNECTIONS"); got != strconv.Itoa(test.want) {
					t.Errorf("%s has %s connections, want %d", s.Name, got, test.want)
				}
			}
		})
	}
}

// TestSettingsMakeRevisions checks that what a function can't see change in a running
// pod changes its template.
func TestSettingsMakeRevisions(t *testing.T) {
	t.Parallel()
	sums := func(args ...string) map[string]string {
		found := map[string]string{}
		for _, p := range pods(rendered(t, "token", args...)) {
			if sum := p.meta.Annotations["checksum/settings"]; sum != "" {
				found[p.name] = sum
			}
		}
		return found
	}
	// Passwords that nobody gave are random where there is no cluster to ask.
	fixed := []string{"--set", "postgresql.auth.password=a,redis.auth.password=b"}
	before := sums(fixed...)
	if len(before) != 5 {
		t.Fatalf("templates with a checksum: %v, want the functions' and the console's", before)
	}
	if diff := cmp.Diff(before, sums(fixed...)); diff != "" {
		t.Errorf("nothing changed, but (-before +after):\n%s", diff)
	}
	for name, set := range map[string]string{
		"a setting":               "logLevel=WARN",
		"a retention":             "retention.records=300h",
		"the webhook secret":      "github.webhookSecret=another-secret-for-the-tests",
		"the token":               "github.token=another",
		"the encryption key":      "keys.encryptionKey=BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB=",
		"a channel":               "notify.slackWebhookURL=https://hooks.example.com/other",
		"the database's password": "postgresql.auth.password=c",
		"the cache's password":    "redis.auth.password=c",
	} {
		after := sums(append(slices.Clone(fixed), "--set", set)...)
		for pod, sum := range after {
			if sum == before[pod] {
				t.Errorf("%s changed, but %s stays as it is", name, pod)
			}
		}
	}
}

// value is the literal value of a variable.
func value(env []corev1.EnvVar, name string) string {
	for _, e := range env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}
