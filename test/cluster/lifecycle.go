package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// storesUser is who runs Postgres and Redis in their images.
const storesUser = 999

// values are the chart's values for this cluster: what an operator would write.
func (w *world) values() map[string]any {
	digests := func(refs map[string]string) map[string]any {
		d := map[string]any{}
		for name, ref := range refs {
			if name != "hello" {
				d[name] = ref[strings.LastIndex(ref, "@")+1:]
			}
		}
		return d
	}
	// A function is given what it was measured to need, and little of two cores.
	small := map[string]any{"requests": map[string]any{"cpu": "20m", "memory": "64Mi"}, "limits": map[string]any{"cpu": "1", "memory": "512Mi"}}
	v := map[string]any{
		"image": map[string]any{"registry": w.s.registry, "digests": digests(w.refs)},
		"github": map[string]any{
			"appID": w.forge.AppID(), "existingSecret": release + "-github", "apiURL": w.forge.URL(), "graphqlURL": w.forge.GraphQLURL(), "insecureAPI": true,
		},
		"keys":   map[string]any{"existingSecret": release + "-keys"},
		"notify": map[string]any{"insecureHTTP": true, "webhookURL": w.inbox.url, "webhookSecret": "0123456789abcdef0123"},
		"tick":   map[string]any{"schedule": "*/1 * * * *"},
		"networkPolicy": map[string]any{
			"egress": map[string]any{"ports": []int{}}, // the stand-in's and the inbox's
		},
		"functions": map[string]any{
			"webhook": map[string]any{"resources": small}, "detect": map[string]any{"resources": small},
			"repair": map[string]any{"resources": small}, "notify": map[string]any{"resources": small},
		},
	}
	stores := map[string]map[string]any{
		"postgresql": {"auth": map[string]any{"existingSecret": release + "-postgres"}},
		"redis":      {"auth": map[string]any{"existingSecret": release + "-redis"}},
		"backup":     {},
	}
	for name, store := range stores {
		if w.s.volumes != "" {
			store["persistence"] = map[string]any{"storageClass": "-"}
		}
		if w.s.stores != "" && name != "backup" {
			// As tools/store-images names them.
			image := map[string]string{"postgresql": "postgres", "redis": "redis"}[name]
			tag := map[string]string{"postgresql": "15", "redis": "7"}[name]
			store["image"] = map[string]any{"repository": w.s.stores + "/" + image, "tag": tag}
			if name == "redis" {
				store["exporter"] = map[string]any{"image": map[string]any{"repository": w.s.stores + "/redis-exporter", "tag": "1"}}
			}
		}
		v[name] = store
	}
	return v
}

// file writes something into the world's folder and returns its path.
func (w *world) file(name string, b []byte) (string, error) {
	path := filepath.Join(w.dir, name)
	return path, os.WriteFile(path, b, 0o600)
}

// install follows the operations page from an empty namespace to ready.
func install(ctx context.Context, w *world, r *result) error {
	if _, err := w.run(withTimeout(ctx, 8*time.Minute), "", "kubectl", "delete", "namespace", w.namespace, "--ignore-not-found"); err != nil {
		return err
	}
	if err := w.makeVolumes(ctx); err != nil {
		return err
	}
	key, err := w.file("key.pem", w.forge.PrivateKeyPEM())
	if err != nil {
		return err
	}
	if _, err := w.follow(ctx, "secrets", "PRIVATE_KEY_FILE="+key, "WEBHOOK_SECRET="+w.forge.WebhookSecret()); err != nil {
		return err
	}
	b, err := json.Marshal(w.values()) // JSON is YAML
	if err != nil {
		return err
	}
	if w.valuesFile, err = w.file("values.yaml", b); err != nil {
		return err
	}
	began := time.Now()
	if _, err := w.follow(ctx, "install"); err != nil {
		return err
	}
	r.Seconds["helm install to ready"] = round(time.Since(began))
	if _, err := w.follow(ctx, "look"); err != nil {
		return err
	}
	zero, err := w.atZero(ctx, 4*time.Minute)
	r.Seconds["from ready to zero"] = round(zero)
	return err
}

func withTimeout(ctx context.Context, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(ctx, d)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// makeVolumes makes the stores' volumes by hand, in folders of the node, where
// the cluster has no StorageClass.
func (w *world) makeVolumes(ctx context.Context) error {
	if w.s.volumes == "" {
		return nil
	}
	for _, claim := range []string{"data-postgres-0", "data-redis-0", release + "-backup"} {
		if err := w.makeVolume(ctx, claim); err != nil {
			return err
		}
	}
	return nil
}

// makeVolume makes an empty volume for a claim, in place of an older one.
func (w *world) makeVolume(ctx context.Context, claim string) error {
	path, name := filepath.Join(w.s.volumes, w.namespace, claim), w.namespace+"-"+claim
	if _, err := w.run(ctx, "", "kubectl", "delete", "pv", name, "--ignore-not-found"); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := os.Chown(path, storesUser, storesUser); err != nil {
		return err
	}
	_, err := w.run(ctx, fmt.Sprintf(`apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  claimRef: {namespace: %s, name: %s}
  hostPath: {path: %s}
`, name, w.namespace, claim, path), "kubectl", "apply", "-f", "-")
	return err
}

// revisions are the latest ready revisions of the functions.
func (w *world) revisions(ctx context.Context) (map[string]string, error) {
	out, err := w.kubectl(ctx, "get", "ksvc", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.latestReadyRevisionName}{"\n"}{end}`)
	revs := map[string]string{}
	for line := range strings.Lines(out) {
		if name, rev, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			revs[name] = rev
		}
	}
	return revs, err
}

// upgrade goes to another version and back while workflows fail, and splits the
// traffic in between.
func upgrade(ctx context.Context, w *world, r *result) error {
	if w.newRefs == nil {
		return errors.New("-new-images is needed")
	}
	before, err := w.revisions(ctx)
	if err != nil {
		return err
	}
	w.forge.answers()
	stop := w.load(ctx, "upgrading", 1500*time.Millisecond)
	newer := w.refs
	w.refs = w.newRefs
	b, err := json.Marshal(w.values())
	w.refs = newer
	if err != nil {
		return err
	}
	path, err := w.file("values-new.yaml", b)
	if err != nil {
		return err
	}
	steps := func() error {
		began := time.Now()
		if _, err := w.follow(ctx, "upgrade", "VALUES="+path); err != nil {
			return err
		}
		r.Seconds["helm upgrade"] = round(time.Since(began))
		after, err := w.revisions(ctx)
		if err != nil {
			return err
		}
		for service, rev := range after {
			if before[service] == rev {
				return fmt.Errorf("%s still serves revision %s after the upgrade", service, rev)
			}
		}
		if out, err := w.follow(ctx, "split"); err != nil {
			return err
		} else if !strings.Contains(out, "50%") {
			return fmt.Errorf("the traffic isn't split:\n%s", out)
		}
		began = time.Now()
		if _, err := w.follow(ctx, "rollback"); err != nil {
			return err
		}
		r.Seconds["helm rollback"] = round(time.Since(began))
		return sleep(ctx, 5*time.Second)
	}
	err = steps()
	repos, lerr := stop()
	if err := errors.Join(err, lerr); err != nil {
		return err
	}
	codes, slowest := w.forge.answers()
	r.Counts["deliveries under way, answered 2xx"], r.Counts["deliveries under way, answered otherwise"] = good(codes), bad(codes)
	r.Seconds["slowest delivery under way"] = round(slowest)
	if err := w.settled(ctx, 8*time.Minute, repos, w.failed(repos)); err != nil {
		return err
	}
	return w.tally(ctx, r, repos)
}

// integrity is what `mlops-bot integrity` says of the database.
type integrity struct {
	Rows     map[string]int64  `json:"rows"`
	Digests  map[string]string `json:"digests"`
	Problems []any             `json:"problems"`
}

func (w *world) integrity(ctx context.Context) (integrity, error) {
	var found integrity
	out, err := w.follow(ctx, "integrity")
	if err != nil {
		return found, err
	}
	begin, end := strings.Index(out, "{"), strings.LastIndex(out, "}")
	if begin < 0 || end < begin {
		return found, fmt.Errorf("the integrity check printed no JSON: %.300q", out)
	}
	return found, json.Unmarshal([]byte(out[begin:end+1]), &found)
}

// restore backs up, wipes the database's volume and restores.
func restore(ctx context.Context, w *world, r *result) error {
	// Nothing is to be written between the backup and the comparison.
	if _, err := w.atZero(ctx, 5*time.Minute); err != nil {
		return err
	}
	if _, err := w.follow(ctx, "stop"); err != nil {
		return err
	}
	before, err := w.integrity(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := w.follow(ctx, "backup"); err != nil {
		return err
	}
	r.Seconds["backup"] = round(time.Since(began))
	began = time.Now()
	if _, err := w.follow(ctx, "wipe"); err != nil {
		return err
	}
	if w.s.volumes != "" { // what a new volume would bring: nothing
		if err := w.makeVolume(ctx, "data-postgres-0"); err != nil {
			return err
		}
	}
	if _, err := w.follow(ctx, "restore"); err != nil {
		return err
	}
	after, err := w.integrity(ctx)
	if err != nil {
		return err
	}
	r.Seconds["wipe and restore"] = round(time.Since(began))
	for _, table := range []string{"incidents", "repairs", "audit"} {
		r.Counts[table] = int(after.Rows[table])
	}
	if !maps.Equal(before.Digests, after.Digests) || len(after.Problems) > 0 {
		return fmt.Errorf("the restored database differs: digests %v, were %v; problems %v", after.Digests, before.Digests, after.Problems)
	}
	if after.Rows["incidents"] == 0 {
		return errors.New("there was nothing to restore")
	}
	if _, err := w.follow(ctx, "resume"); err != nil {
		return err
	}
	status, _, err := w.ping(ctx, release+"-webhook")
	if err != nil || status != 200 {
		return fmt.Errorf("after the restore webhook answers %d: %w", status, err)
	}
	return nil
}
