package chart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/mlops-bot/mlops-bot/shared/config"
)

// pod is a pod's template and whose it is.
type pod struct {
	name string // kind/name of the owner
	meta metav1.ObjectMeta
	spec corev1.PodSpec
}

// containers are the pod's containers, those that run first included.
func (p pod) containers() []corev1.Container {
	return append(slices.Clone(p.spec.InitContainers), p.spec.Containers...)
}

// pods are the templates of everything that makes pods.
func pods(objects []runtime.Object) []pod {
	var found []pod
	for _, o := range objects {
		switch x := o.(type) {
		case *servingv1.Service:
			found = append(found, pod{"Service/" + x.Name, x.Spec.Template.ObjectMeta, x.Spec.Template.Spec.PodSpec})
		case *appsv1.Deployment:
			found = append(found, pod{"Deployment/" + x.Name, x.Spec.Template.ObjectMeta, x.Spec.Template.Spec})
		case *appsv1.StatefulSet:
			found = append(found, pod{"StatefulSet/" + x.Name, x.Spec.Template.ObjectMeta, x.Spec.Template.Spec})
		case *batchv1.Job:
			found = append(found, pod{"Job/" + x.Name, x.Spec.Template.ObjectMeta, x.Spec.Template.Spec})
		case *batchv1.CronJob:
			t := x.Spec.JobTemplate.Spec.Template
			found = append(found, pod{"CronJob/" + x.Name, t.ObjectMeta, t.Spec})
		}
	}
	return found
}

// TestPodsAreRestricted holds every pod to Kubernetes' restricted standard, and to more:
// no token of the API, a read-only root, bounded resources.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	for name := range values(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := pods(rendered(t, name))
			if len(found) < 7 {
				t.Fatalf("only %d templates of pods", len(found))
			}
			for _, p := range found {
				for _, problem := range unrestricted(p) {
					t.Errorf("%s: %s", p.name, problem)
				}
			}
		})
	}
}

func unrestricted(p pod) []string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if p.spec.AutomountServiceAccountToken == nil || *p.spec.AutomountServiceAccountToken {
		bad("mounts a token of the Kubernetes API")
	}
	if p.spec.HostNetwork || p.spec.HostPID || p.spec.HostIPC {
		bad("shares the host's namespaces")
	}
	for _, v := range p.spec.Volumes {
		if v.Secret == nil && v.ConfigMap == nil && v.EmptyDir == nil && v.PersistentVolumeClaim == nil && v.Projected == nil {
			bad("volume %s is of a kind that restricted doesn't have", v.Name)
		}
	}
	whole := p.spec.SecurityContext
	if whole == nil {
		whole = &corev1.PodSecurityContext{}
	}
	for _, c := range p.containers() {
		own := c.SecurityContext
		if own == nil {
			bad("%s has no security context", c.Name)
			continue
		}
		if own.RunAsNonRoot == nil {
			own.RunAsNonRoot = whole.RunAsNonRoot
		}
		if own.RunAsUser == nil {
			own.RunAsUser = whole.RunAsUser
		}
		if own.SeccompProfile == nil {
			own.SeccompProfile = whole.SeccompProfile
		}
		if own.RunAsNonRoot == nil || !*own.RunAsNonRoot || (own.RunAsUser != nil && *own.RunAsUser == 0) {
			bad("%s may run as root", c.Name)
		}
		if own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation {
			bad("%s may gain privileges", c.Name)
		}
		if own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem {
			bad("%s may write to its root", c.Name)
		}
		if own.Capabilities == nil || !slices.Contains(own.Capabilities.Drop, "ALL") || len(own.Capabilities.Add) > 0 {
			bad("%s has capabilities", c.Name)
		}
		if own.SeccompProfile == nil || own.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			bad("%s has no seccomp profile", c.Name)
		}
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			_, requested := c.Resources.Requests[r]
			_, limited := c.Resources.Limits[r]
			if !requested || !limited {
				bad("%s has no request or limit of %s", c.Name, r)
			}
		}
		if strings.HasSuffix(c.Image, ":latest") || !strings.ContainsAny(strings.TrimPrefix(c.Image, "ghcr.io"), ":@") {
			bad("%s runs the image %q, whatever it is today", c.Name, c.Image)
		}
	}
	return problems
}

// environment is what a container of the bot's would be started with. What is in
// Secrets is taken from the rendered ones, and is otherwise something plausible.
func environment(t *testing.T, objects []runtime.Object, c corev1.Container) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		for _, m := range all[*corev1.ConfigMap](objects) {
			if m.Name == from.ConfigMapRef.Name {
				maps.Copy(env, m.Data)
			}
		}
	}
	plausible := map[string]string{
		"webhook-secret": "a-webhook-secret-of-some-length", "token": "github_pat_x", "password": "pass-word", "address": "rediss://cache.example.com:6379/0",
		"encryption-key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "secret-key": "a-secret-key-of-thirty-two-characters", "backup-password": "pass-word",
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			v := e.Value
			for known, value := range env {
				v = strings.ReplaceAll(v, "$("+known+")", value) // as Kubernetes expands it
			}
			env[e.Name] = v
			continue
		}
		ref := e.ValueFrom.SecretKeyRef
		made := false
		for _, s := range all[*corev1.Secret](objects) {
			if s.Name != ref.Name {
				continue
			}
			made = true
			v, ok := s.StringData[ref.Key]
			if !ok {
				var b []byte
				b, ok = s.Data[ref.Key]
				v = string(b)
			}
			if ok {
				env[e.Name] = v
			} else if ref.Optional == nil || !*ref.Optional {
				t.Errorf("%s asks for the key %s, which the rendered Secret %s hasn't", e.Name, ref.Key, ref.Name)
			}
		}
		if !made && (ref.Optional == nil || !*ref.Optional) {
			v, ok := plausible[ref.Key]
			if !ok {
				t.Errorf("%s asks for the key %s of %s: which value would that be?", e.Name, ref.Key, ref.Name)
			}
			env[e.Name] = v
		}
	}
	return env
}

// TestProgramsTakeTheirSettings starts no program, but lets each one judge the
// environment that the chart would start it with.
func TestProgramsTakeTheirSettings(t *testing.T) {
	t.Parallel()
	documented, err := os.ReadFile(filepath.Join(root, "docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]config.Program{
		"webhook": config.Webhook, "detect": config.Detect, "repair": config.Repair, "notify": config.Notifyd,
		"console": config.Console, "migrate": config.Migrate, "cli": config.Serve,
	}
	for name := range values(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := rendered(t, name)
			seen := map[string]bool{}
			for _, p := range pods(objects) {
				for _, c := range p.spec.Containers {
					program, ok := programs[c.Name]
					if !ok {
						continue
					}
					seen[c.Name] = true
					env := environment(t, objects, c)
					if path := env["GITHUB_PRIVATE_KEY_PATH"]; path != "" && program != config.Webhook && program != config.Console {
						if !mounted(p, c, path) {
							t.Errorf("%s: nothing is mounted at %s", p.name, path)
						}
						// The file is there in a cluster.
						env["GITHUB_PRIVATE_KEY_PATH"] = "pods_test.go"
					}
					var environ []string
					for k, v := range env {
						environ = append(environ, k+"="+v)
						if !strings.Contains(string(documented), "| `"+k+"` |") && k != "REDIS_PASSWORD" && !strings.HasPrefix(k, "OTEL_") {
							t.Errorf("%s: no program knows %s", p.name, k)
						}
					}
					if _, err := config.Load(environ, program); err != nil {
						t.Errorf("%s would not start: %v", p.name, err)
					}
				}
			}
			if len(seen) != len(programs) {
				t.Errorf("saw only %v", slices.Sorted(maps.Keys(seen)))
			}
		})
	}
}

// mounted reports whether a file comes from one of the pod's Secrets.
func mounted(p pod, c corev1.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		for _, v := range p.spec.Volumes {
			if v.Name != m.Name || v.Secret == nil {
				continue
			}
			for _, item := range v.Secret.Items {
				if filepath.Join(m.MountPath, item.Path) == path {
					return true
				}
			}
		}
	}
	return false
}

// TestEveryReferenceIsThere checks that what a pod asks for is rendered, or is one of
// the operator's own Secrets.
func TestEveryReferenceIsThere(t *testing.T) {
	t.Parallel()
	for name, path := range values(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			objects := rendered(t, name)
			there := map[string]bool{"ServiceAccount/": true}
			for _, o := range objects {
				m, ok := o.(metav1.Object)
				if !ok {
					continue
				}
				kind := o.GetObjectKind().GroupVersionKind().Kind
				there[kind+"/"+m.GetName()] = true
				if kind == "Certificate" { // cert-manager makes its Secret
					there["Secret/"+m.GetName()+"-tls"] = true
				}
			}
			for _, s := range all[*appsv1.StatefulSet](objects) {
				for _, c := range s.Spec.VolumeClaimTemplates {
					there["PersistentVolumeClaim/"+c.Name+"-"+s.Name+"-0"] = true
				}
			}
			for _, p := range pods(objects) {
				ask := func(kind, name string, optional *bool) {
					if there[kind+"/"+name] || (optional != nil && *optional) || (kind == "Secret" && strings.Contains(string(given), name)) {
						return
					}
					t.Errorf("%s asks for %s/%s, which isn't there", p.name, kind, name)
				}
				ask("ServiceAccount", p.spec.ServiceAccountName, nil)
				for _, v := range p.spec.Volumes {
					switch {
					case v.Secret != nil:
						ask("Secret", v.Secret.SecretName, v.Secret.Optional)
					case v.ConfigMap != nil:
						ask("ConfigMap", v.ConfigMap.Name, v.ConfigMap.Optional)
					case v.PersistentVolumeClaim != nil:
						ask("PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName, nil)
					}
				}
				for _, c := range p.containers() {
					for _, from := range c.EnvFrom {
						ask("ConfigMap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
					}
					for _, e := range c.Env {
						if e.ValueFrom != nil {
							ask("Secret", e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Optional)
						}
					}
					for _, m := range c.VolumeMounts {
						if !slices.ContainsFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) &&
							!strings.HasPrefix(p.name, "StatefulSet/") {
							t.Errorf("%s mounts the volume %s, which it hasn't", p.name, m.Name)
						}
					}
				}
			}
		})
	}
}
