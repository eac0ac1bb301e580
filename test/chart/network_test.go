package chart

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// peer is a pod that may speak to another one, or an address outside of the cluster.
type peer struct {
	namespace string
	labels    map[string]string
	outside   bool
}

// policies are NetworkPolicies as Kubernetes reads them: a pod that none selects is
// open, one that any selects is open only to what one of them lets through.
type policies []*networkingv1.NetworkPolicy

func (ps policies) lets(t *testing.T, direction networkingv1.PolicyType, pod map[string]string, other peer, port int, ports map[string]int) bool {
	t.Helper()
	selected := false
	for _, p := range ps {
		applies := false
		for _, d := range p.Spec.PolicyTypes {
			applies = applies || d == direction
		}
		if !applies || !matches(t, &p.Spec.PodSelector, pod) {
			continue
		}
		selected = true
		type rule struct {
			peers []networkingv1.NetworkPolicyPeer
			ports []networkingv1.NetworkPolicyPort
		}
		var rules []rule
		for _, r := range p.Spec.Ingress {
			rules = append(rules, rule{r.From, r.Ports})
		}
		if direction == networkingv1.PolicyTypeEgress {
			rules = nil
			for _, r := range p.Spec.Egress {
				rules = append(rules, rule{r.To, r.Ports})
			}
		}
		for _, r := range rules {
			if anyPort(r.ports, port, ports) && anyPeer(t, r.peers, other) {
				return true
			}
		}
	}
	return !selected
}

func anyPort(allowed []networkingv1.NetworkPolicyPort, port int, names map[string]int) bool {
	for _, a := range allowed {
		here := (a.Port.Type == intstr.Int && a.Port.IntValue() == port) || (a.Port.Type == intstr.String && names[a.Port.StrVal] == port)
		if here && (a.Protocol == nil || *a.Protocol == corev1.ProtocolTCP) {
			return true
		}
	}
	return len(allowed) == 0
}

func anyPeer(t *testing.T, allowed []networkingv1.NetworkPolicyPeer, other peer) bool {
	t.Helper()
	for _, a := range allowed {
		if a.IPBlock != nil {
			if other.outside {
				return true
			}
			continue
		}
		if other.outside {
			continue
		}
		inNamespace := other.namespace == namespace
		if a.NamespaceSelector != nil {
			inNamespace = matches(t, a.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": other.namespace})
		}
		if inNamespace && (a.PodSelector == nil || matches(t, a.PodSelector, other.labels)) {
			return true
		}
	}
	return len(allowed) == 0
}

func matches(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(set))
}

// component are the labels of the release's pods of a component, as they are rendered.
func component(t *testing.T, objects []runtime.Object, name string) map[string]string {
	t.Helper()
	for _, p := range pods(objects) {
		if p.meta.Labels["app.kubernetes.io/component"] == name {
			return p.meta.Labels
		}
	}
	t.Fatalf("no pod is a %s", name)
	return nil
}

// TestWhoReachesWhom judges the rendered policies as a network would that enforces
// them; the cluster of the proof (make e2e) does not.
func TestWhoReachesWhom(t *testing.T) {
	t.Parallel()
	objects := rendered(t, "app")
	ps := policies(all[*networkingv1.NetworkPolicy](objects))
	own := func(name string) peer { return peer{namespace: namespace, labels: component(t, objects, name)} }
	other := peer{namespace: "other", labels: map[string]string{"app.kubernetes.io/name": "mlops-bot", "app.kubernetes.io/instance": "mlops-bot", "app.kubernetes.io/component": "detect"}}
	neighbour := peer{namespace: namespace, labels: map[string]string{"app": "neighbour"}}
	world := peer{outside: true}
	in := func(ns string) peer { return peer{namespace: ns} }
	ports := map[string]int{"http": 8080, "metrics": 9090}

	for name, test := range map[string]struct {
		from peer
		to   string
		port int
		want bool
	}{
		"the activator to webhook":               {in("knative-serving"), "webhook", 8012, true},
		"the ingress to webhook":                 {in("traefik"), "webhook", 8012, true},
		"the broker's filter to repair":          {in("knative-eventing"), "repair", 8012, true},
		"another namespace to webhook":           {other, "webhook", 8012, false},
		"another namespace to detect":            {other, "detect", 8012, false},
		"another namespace to repair":            {other, "repair", 8080, false},
		"another namespace to notify":            {other, "notify", 8012, false},
		"a neighbour to repair":                  {neighbour, "repair", 8012, false},
		"the world to detect":                    {world, "detect", 8012, false},
		"another namespace to Postgres":          {other, "postgresql", 5432, false},
		"another namespace to Redis":             {other, "redis", 6379, false},
		"a neighbour to Postgres":                {neighbour, "postgresql", 5432, false},
		"the ingress to Postgres":                {in("traefik"), "postgresql", 5432, false},
		"the world to Redis":                     {world, "redis", 6379, false},
		"detect to Postgres":                     {own("detect"), "postgresql", 5432, true},
		"the console to Postgres":                {own("console"), "postgresql", 5432, true},
		"the migration to Postgres":              {own("migrate"), "postgresql", 5432, true},
		"the backup to Redis":                    {own("backup"), "redis", 6379, true},
		"the command line to Redis":              {own("cli"), "redis", 6379, true},
		"monitoring to Redis' exporter":          {in("monitoring"), "redis", 9121, true},
		"monitoring to Redis":                    {in("monitoring"), "redis", 6379, false},
		"the broker to the dead letters":         {in("knative-eventing"), "console", 9090, true},
		"monitoring to the metrics":              {in("monitoring"), "console", 9090, true},
		"another namespace to the dead letters":  {other, "console", 9090, false},
		"the ingress to the status page, closed": {in("traefik"), "console", 8080, false},
	} {
		to := component(t, objects, test.to)
		if got := ps.lets(t, networkingv1.PolicyTypeIngress, to, test.from, test.port, ports); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
		// What one of the release's pods may be sent, the sender must be allowed to send.
		if test.want && test.from.namespace == namespace && !ps.lets(t, networkingv1.PolicyTypeEgress, test.from.labels, peer{namespace: namespace, labels: to}, test.port, ports) {
			t.Errorf("%s: may be taken, but not sent", name)
		}
	}

	for name, test := range map[string]struct {
		from string
		to   peer
		port int
		want bool
	}{
		"detect to GitHub":           {"detect", world, 443, true},
		"notify to a channel":        {"notify", world, 443, true},
		"doctor to GitHub":           {"cli", world, 443, true},
		"repair to another port":     {"repair", world, 22, false},
		"the console to the world":   {"console", world, 443, false},
		"Postgres to the world":      {"postgresql", world, 443, false},
		"Redis to the world":         {"redis", world, 443, false},
		"a backup to the world":      {"backup", world, 443, false},
		"the migration to the world": {"migrate", world, 443, false},
		"webhook to the broker":      {"webhook", in("knative-eventing"), 8080, true},
		"detect to another service":  {"detect", other, 443, false},
		"repair to the DNS":          {"repair", in("kube-system"), 53, true},
		"Postgres to Redis":          {"postgresql", own("redis"), 6379, false},
	} {
		if got := ps.lets(t, networkingv1.PolicyTypeEgress, component(t, objects, test.from), test.to, test.port, ports); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}

	t.Run("the status page when it is opened, stores elsewhere", func(t *testing.T) {
		t.Parallel()
		objects := rendered(t, "external")
		ps := policies(all[*networkingv1.NetworkPolicy](objects))
		if console := component(t, objects, "console"); !ps.lets(t, networkingv1.PolicyTypeIngress, console, in("ingress-nginx"), 8080, ports) ||
			ps.lets(t, networkingv1.PolicyTypeIngress, console, in("ingress-nginx"), 9090, ports) {
			t.Error("networkPolicy.consoleNamespaces does not open the page, and the page alone")
		}
		if !ps.lets(t, networkingv1.PolicyTypeEgress, component(t, objects, "console"), world, 5432, ports) {
			t.Error("the console does not reach Postgres elsewhere")
		}
	})
	t.Run("only what copies to S3 may", func(t *testing.T) {
		t.Parallel()
		objects := rendered(t, "everything")
		ps := policies(all[*networkingv1.NetworkPolicy](objects))
		if ps.lets(t, networkingv1.PolicyTypeEgress, component(t, objects, "backup"), world, 443, ports) {
			t.Error("a dump may go anywhere")
		}
		if !ps.lets(t, networkingv1.PolicyTypeEgress, component(t, objects, "backup-upload"), world, 443, ports) {
			t.Error("the copy may not go to S3")
		}
	})
	t.Run("a broker in the release's namespace", func(t *testing.T) {
		t.Parallel()
		objects := rendered(t, "rabbitmq")
		ps := policies(all[*networkingv1.NetworkPolicy](objects))
		dispatcher := peer{namespace: namespace, labels: map[string]string{"eventing.knative.dev/brokerRole": "dispatcher"}}
		if !ps.lets(t, networkingv1.PolicyTypeIngress, component(t, objects, "console"), dispatcher, 9090, ports) {
			t.Error("its dead letters don't arrive")
		}
		if !ps.lets(t, networkingv1.PolicyTypeEgress, component(t, objects, "webhook"), dispatcher, 8080, ports) {
			t.Error("webhook can't publish")
		}
	})
}
