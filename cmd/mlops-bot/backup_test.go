package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

// mounted makes a folder as Kubernetes mounts a Secret: a directory of the
// present version, a link to it, and a link for each key.
func mounted(t *testing.T, parent, secret string, keys map[string]string) string {
	t.Helper()
	dir := filepath.Join(parent, secret)
	for key, value := range keys {
		write(t, filepath.Join(dir, "..2026_11_23_00_00_00.1", key), value)
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(dir, key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..2026_11_23_00_00_00.1", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// identity makes a key pair and the file of its private part.
func identity(t *testing.T) (recipient, file string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String(), write(t, filepath.Join(t.TempDir(), "key.txt"), "# created: today\n"+id.String()+"\n")
}

// tree returns all files below a folder with their contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestBackupOfSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pem := "-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat("x", 1600) + "\n"
	github := mounted(t, dir, "mlops-bot-github", map[string]string{"private-key.pem": pem, "GITHUB_WEBHOOK_SECRET": "0123456789abcdef"})
	database := mounted(t, dir, "mlops-bot-database", map[string]string{"DB_PASSWORD": "hunter2", "EMPTY": ""})
	first, firstKey := identity(t)
	second, secondKey := identity(t)
	_, strangerKey := identity(t)
	out := filepath.Join(dir, "backups")

	cmd := backupSecretsCommand{Recipient: []string{first, second}, From: []string{github, database}, Out: out, KeepLeast: 1}
	var said bytes.Buffer
	if err := cmd.run(console{out: &said}, time.Date(2026, 11, 23, 2, 47, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(out, "secrets-20261123T024700Z.tar.age")
	if !strings.HasPrefix(said.String(), file+": 4 files of 2 Secrets") {
		t.Errorf("said %q", said.String())
	}
	got := tree(t, out)
	if len(got) != 1 || got["secrets-20261123T024700Z.tar.age"] == "" {
		t.Fatalf("the folder holds %d files", len(got))
	}
	for _, secret := range []string{"hunter2", "0123456789abcdef", "PRIVATE KEY", "DB_PASSWORD"} {
		if strings.Contains(got["secrets-20261123T024700Z.tar.age"], secret) {
			t.Errorf("the backup shows %q", secret)
		}
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", st.Mode(), err)
	}

	want := map[string]string{
		"mlops-bot-github/private-key.pem": pem, "mlops-bot-github/GITHUB_WEBHOOK_SECRET": "0123456789abcdef",
		"mlops-bot-database/DB_PASSWORD": "hunter2", "mlops-bot-database/EMPTY": "",
	}
	for _, key := range []string{firstKey, secondKey} {
		to := filepath.Join(t.TempDir(), "opened")
		said.Reset()
		if err := (backupOpenCommand{File: file, Identity: key, Out: to}).Run(console{out: &said}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, tree(t, to)); diff != "" {
			t.Errorf("opened (-want +got):\n%s", diff)
		}
		if !strings.Contains(said.String(), "kubectl create secret generic mlops-bot-github --from-file="+to+"/mlops-bot-github\n") || strings.Contains(said.String(), "hunter2") {
			t.Errorf("said %q", said.String())
		}
	}

	sealed := []byte(got["secrets-20261123T024700Z.tar.age"])
	flipped := slices.Clone(sealed)
	flipped[len(flipped)-100] ^= 1
	full := t.TempDir()
	write(t, filepath.Join(full, "x"), "")
	refused := map[string]struct {
		sealed    []byte
		key, to   string
		complains string
	}{
		"another's key":      {sealed, strangerKey, "", "not encrypted for this identity"},
		"a changed byte":     {flipped, firstKey, "", "open the backup"},
		"a lost end":         {sealed[:len(sealed)-50], firstKey, "", "open the backup"},
		"no backup":          {[]byte("hello"), firstKey, "", "open the backup"},
		"a folder with more": {sealed, firstKey, full, "not empty"},
		"no key":             {sealed, file, "", "read the identity"},
	}
	for name, tt := range refused {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := write(t, filepath.Join(t.TempDir(), "in"), string(tt.sealed))
			to := tt.to
			if to == "" {
				to = filepath.Join(t.TempDir(), "opened")
			}
			err := backupOpenCommand{File: in, Identity: tt.key, Out: to}.Run(console{out: &bytes.Buffer{}})
			if err == nil || !strings.Contains(err.Error(), tt.complains) {
				t.Errorf("error %v, want one about %q", err, tt.complains)
			}
			if tt.to == "" {
				if _, err := os.Stat(to); err == nil {
					t.Error("something was written")
				}
			}
		})
	}
}

func TestBackupOfSecretsRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recipient, _ := identity(t)
	good := mounted(t, dir, "good", map[string]string{"a": "1"})
	link := filepath.Join(dir, "link")
	write(t, filepath.Join(dir, "outside"), "x")
	if err := errors.Join(os.Mkdir(link, 0o700), os.Symlink("../outside", filepath.Join(link, "key"))); err != nil {
		t.Fatal(err)
	}
	large := filepath.Dir(write(t, filepath.Join(dir, "large", "key"), strings.Repeat("x", maxSecretFile+1)))
	nested := filepath.Dir(filepath.Dir(write(t, filepath.Join(dir, "nested", "folder", "key"), "x")))
	empty := t.TempDir()
	tests := map[string]struct {
		cmd       backupSecretsCommand
		complains string
	}{
		"no public key":           {backupSecretsCommand{Recipient: []string{"age1x"}, From: []string{good}}, "recipients"},
		"a private key":           {backupSecretsCommand{Recipient: []string{"AGE-SECRET-KEY-1"}, From: []string{good}}, "recipients"},
		"nothing there":           {backupSecretsCommand{Recipient: []string{recipient}, From: []string{empty}}, "no file"},
		"a folder twice":          {backupSecretsCommand{Recipient: []string{recipient}, From: []string{good, good + "/"}}, "two folders"},
		"a way out":               {backupSecretsCommand{Recipient: []string{recipient}, From: []string{link}}, "escapes"},
		"a large file":            {backupSecretsCommand{Recipient: []string{recipient}, From: []string{large}}, "larger than"},
		"a folder in it":          {backupSecretsCommand{Recipient: []string{recipient}, From: []string{nested}}, "folder is no file"},
		"the root":                {backupSecretsCommand{Recipient: []string{recipient}, From: []string{"/"}}, "none of a Secret"},
		"fewer than none to keep": {backupSecretsCommand{Recipient: []string{recipient}, From: []string{good}, KeepDays: 1, KeepLeast: -1}, "--keep-least"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.cmd.Out = filepath.Join(t.TempDir(), "out")
			if tt.cmd.KeepLeast == 0 {
				tt.cmd.KeepLeast = 1
			}
			err := tt.cmd.run(console{out: &bytes.Buffer{}}, time.Now())
			if err == nil || !strings.Contains(err.Error(), tt.complains) {
				t.Errorf("error %v, want one about %q", err, tt.complains)
			}
			if _, err := os.Stat(tt.cmd.Out); err == nil {
				t.Error("something was written")
			}
		})
	}
}

func TestBackupOfSecretsKeeps(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 2, 47, 0, 0, time.UTC)
	names := func(days ...int) []string {
		var names []string
		for _, d := range days {
			names = append(names, backupPrefix+now.AddDate(0, 0, -d).Format(backupTime)+backupSuffix)
		}
		slices.Sort(names)
		return names
	}
	tests := map[string]struct {
		days, least int
		before      []string
		after       []string
	}{
		"all":              {0, 1, names(100, 1), names(100, 1, 0)},
		"two weeks":        {14, 2, names(20, 15, 13, 1), names(13, 1, 0)},
		"the newest three": {14, 3, names(20, 16, 15), names(16, 15, 0)},
		"what is another's": {14, 1, []string{"secrets-old.tar.age", "postgresql-20200101T000000Z.dump", "secrets-20200101T000000Z.tar.age"},
			append([]string{"postgresql-20200101T000000Z.dump"}, append(names(0), "secrets-old.tar.age")...)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			recipient, _ := identity(t)
			out := filepath.Join(dir, "out")
			for _, n := range tt.before {
				write(t, filepath.Join(out, n), "old")
			}
			cmd := backupSecretsCommand{Recipient: []string{recipient}, From: []string{mounted(t, dir, "s", map[string]string{"a": "1"})}, Out: out, KeepDays: tt.days, KeepLeast: tt.least}
			if err := cmd.run(console{out: &bytes.Buffer{}}, now); err != nil {
				t.Fatal(err)
			}
			var got []string
			for n := range tree(t, out) {
				got = append(got, n)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.after, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			// A name is never used twice.
			if err := cmd.run(console{out: &bytes.Buffer{}}, now); err == nil || !strings.Contains(err.Error(), "already") {
				t.Errorf("a second backup of that second: %v", err)
			}
		})
	}
}

// archived makes a tar of headers, each with as many bytes as it names.
func archived(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadArchiveRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string][]tar.Header{
		"a way up":       {{Name: "../key", Typeflag: tar.TypeReg}},
		"a way up below": {{Name: "secret/../../key", Typeflag: tar.TypeReg}},
		"a root":         {{Name: "/etc/passwd", Typeflag: tar.TypeReg}},
		"a link":         {{Name: "secret/key", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}},
		"a folder":       {{Name: "secret/", Typeflag: tar.TypeDir}},
		"a deep file":    {{Name: "secret/a/b", Typeflag: tar.TypeReg}},
		"a bare file":    {{Name: "key", Typeflag: tar.TypeReg}},
		"a large file":   {{Name: "secret/key", Typeflag: tar.TypeReg, Size: maxSecretFile + 1}},
		"a file twice":   {{Name: "secret/key", Typeflag: tar.TypeReg}, {Name: "secret/key", Typeflag: tar.TypeReg}},
	}
	for name, headers := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if files, err := readArchive(archived(t, headers...)); err == nil {
				t.Errorf("took %d files", len(files))
			}
		})
	}
}

func FuzzReadArchive(f *testing.F) {
	f.Add(archived(f, tar.Header{Name: "secret/key", Typeflag: tar.TypeReg, Size: 3}))
	f.Add(archived(f, tar.Header{Name: "../key", Typeflag: tar.TypeReg}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		files, err := readArchive(archive)
		if err != nil {
			return
		}
		for _, file := range files {
			if !filepath.IsLocal(filepath.Join(file.secret, file.key)) || strings.ContainsRune(file.secret+file.key, '/') || len(file.content) > maxSecretFile {
				t.Errorf("took %q/%q with %d bytes", file.secret, file.key, len(file.content))
			}
		}
	})
}
