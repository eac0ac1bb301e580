package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

// backupCommand is what the chart's backup of the secrets runs, and its way back.
type backupCommand struct {
	Secrets backupSecretsCommand `cmd:"" help:"Write the files of mounted Secrets into one encrypted, dated file."`
	Open    backupOpenCommand    `cmd:"" help:"Decrypt such a file into a new folder."`
}

const (
	// A Secret is a MiB at most in Kubernetes.
	maxSecretFile  = 1 << 20
	maxSecretFiles = 1000
	maxSecretsSize = 64 << 20
	maxKeyFile     = 1 << 20

	backupPrefix = "secrets-"
	backupSuffix = ".tar.age"
	backupTime   = "20060102T150405Z"
)

// secretFile is one key of one Secret.
type secretFile struct {
	secret, key string
	content     []byte
}

type backupSecretsCommand struct {
	Recipient []string `required:"" placeholder:"age1…" help:"Public key of who can open the backup (age-keygen makes a pair); repeat it for more."`
	From      []string `required:"" placeholder:"DIR" type:"existingdir" help:"Where a Secret is mounted; the folder's name is taken for the Secret's. Repeat it for more."`
	Out       string   `required:"" placeholder:"DIR" help:"Where the backup is written to."`
	KeepDays  int      `default:"0" help:"Remove backups that are older than so many days; 0 keeps all."`
	KeepLeast int      `default:"3" help:"So many of the newest are never removed."`
}

// Run writes a backup, then removes old ones.
func (b backupSecretsCommand) Run(c console) error { return b.run(c, time.Now().UTC()) }

func (b backupSecretsCommand) run(c console, now time.Time) error {
	if b.KeepDays < 0 || b.KeepLeast < 1 {
		return errors.New("--keep-days must not be negative, and --keep-least at least 1")
	}
	recipients, err := age.ParseRecipients(strings.NewReader(strings.Join(b.Recipient, "\n")))
	if err != nil {
		return fmt.Errorf("read the recipients: %w", err)
	}
	files, err := readSecrets(b.From)
	if err != nil {
		return err
	}
	sealed, err := sealSecrets(files, recipients, now)
	if err != nil {
		return fmt.Errorf("encrypt the secrets: %w", err)
	}
	if err := os.MkdirAll(b.Out, 0o700); err != nil {
		return fmt.Errorf("make the backups' folder: %w", err)
	}
	out, err := os.OpenRoot(b.Out)
	if err != nil {
		return fmt.Errorf("open the backups' folder: %w", err)
	}
	defer func() { _ = out.Close() }() // only read from
	name := backupPrefix + now.Format(backupTime) + backupSuffix
	if err := writeWhole(out, name, sealed); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	fmt.Fprintf(c.out, "%s: %d files of %d Secrets, %d bytes, for %d recipients\n", filepath.Join(b.Out, name), len(files), len(b.From), len(sealed), len(recipients))
	if b.KeepDays == 0 {
		return nil
	}
	removed, err := pruneSecrets(out, b.KeepLeast, now.AddDate(0, 0, -b.KeepDays))
	for _, name := range removed {
		fmt.Fprintf(c.out, "removed %s, older than %d days\n", name, b.KeepDays)
	}
	if err != nil {
		return fmt.Errorf("remove old backups: %w", err)
	}
	return nil
}

// readSecrets reads what Kubernetes mounted: a file for each key, by way of links
// that stay within the folder, beside its own "..data".
func readSecrets(dirs []string) ([]secretFile, error) {
	var files []secretFile
	seen := map[string]bool{}
	size := 0
	for _, dir := range dirs {
		secret := filepath.Base(filepath.Clean(dir))
		if !secretName(secret) {
			return nil, fmt.Errorf("read the secrets: the folder's name %q is none of a Secret", secret)
		}
		if seen[secret] {
			return nil, fmt.Errorf("read the secrets: two folders are named %s", secret)
		}
		seen[secret] = true
		of, err := readSecret(dir, secret)
		if err != nil {
			return nil, fmt.Errorf("read the secret %s: %w", secret, err)
		}
		for _, f := range of {
			size += len(f.content)
		}
		files = append(files, of...)
	}
	switch {
	case len(files) == 0:
		return nil, errors.New("read the secrets: there is no file in any of the folders")
	case len(files) > maxSecretFiles || size > maxSecretsSize:
		return nil, fmt.Errorf("read the secrets: %d files of %d bytes are more than %d files of %d bytes", len(files), size, maxSecretFiles, maxSecretsSize)
	}
	return files, nil
}

func readSecret(dir, secret string) ([]secretFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read from
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var files []secretFile
	for _, e := range entries {
		key := e.Name()
		if strings.HasPrefix(key, "..") {
			continue // Kubernetes' own
		}
		content, err := readBounded(root, key, maxSecretFile)
		if err != nil {
			return nil, err
		}
		files = append(files, secretFile{secret, key, content})
	}
	return files, nil
}

// readBounded reads a regular file of a folder.
func readBounded(root *os.Root, name string, limit int64) (b []byte, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	b, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return b, err
}

// sealSecrets makes a tar of SECRET/KEY files, encrypted for the recipients.
func sealSecrets(files []secretFile, recipients []age.Recipient, now time.Time) ([]byte, error) {
	var sealed bytes.Buffer
	encrypted, err := age.Encrypt(&sealed, recipients...)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(encrypted)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(f.secret, f.key), Mode: 0o600, Size: int64(len(f.content)), ModTime: now}
		if err := archive.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), encrypted.Close()); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// writeWhole makes a new file that is there whole, and on disk, or not at all.
func writeWhole(root *os.Root, name string, content []byte) (err error) {
	if _, err := root.Lstat(name); err == nil {
		return fmt.Errorf("%s is there already", name)
	}
	tmp := name + ".tmp"
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// pruneSecrets removes the backups of before a time, but for the newest.
func pruneSecrets(root *os.Root, least int, before time.Time) (removed []string, err error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	made := map[string]time.Time{}
	var names []string
	for _, e := range entries {
		stamp, isBackup := strings.CutPrefix(e.Name(), backupPrefix)
		stamp, whole := strings.CutSuffix(stamp, backupSuffix)
		at, err := time.Parse(backupTime, stamp)
		if isBackup && whole && err == nil && e.Type().IsRegular() {
			made[e.Name()] = at
			names = append(names, e.Name())
		}
	}
	slices.Sort(names) // by time, as their names are
	for _, name := range names[:max(0, len(names)-least)] {
		if !made[name].Before(before) {
			continue
		}
		if err := root.Remove(name); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

type backupOpenCommand struct {
	File     string `arg:"" type:"existingfile" help:"The backup (secrets-….tar.age)."`
	Identity string `required:"" placeholder:"FILE" type:"existingfile" help:"File with the private key (AGE-SECRET-KEY-…)."`
	Out      string `required:"" placeholder:"DIR" help:"Folder to write to; it must be new or empty."`
}

// Run decrypts a backup: all of it, or nothing is written.
func (b backupOpenCommand) Run(c console) error {
	keys, err := readFile(b.Identity, maxKeyFile)
	if err != nil {
		return fmt.Errorf("read the identity: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(keys))
	if err != nil {
		return fmt.Errorf("read the identity: %w", err)
	}
	// What encryption and tar's headers add is less than the secrets themselves.
	sealed, err := readFile(b.File, 2*maxSecretsSize)
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	files, err := openSecrets(sealed, identities)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	if err := os.MkdirAll(b.Out, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	out, err := os.OpenRoot(b.Out)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	defer func() { _ = out.Close() }() // its files are closed one by one
	if entries, err := fs.ReadDir(out.FS(), "."); err != nil || len(entries) > 0 {
		return errors.Join(fmt.Errorf("the folder %s is not empty", b.Out), err)
	}
	var secrets []string
	for _, f := range files {
		if !slices.Contains(secrets, f.secret) {
			secrets = append(secrets, f.secret)
			if err := out.Mkdir(f.secret, 0o700); err != nil {
				return fmt.Errorf("write the secrets: %w", err)
			}
		}
		if err := writeWhole(out, filepath.Join(f.secret, f.key), f.content); err != nil {
			return fmt.Errorf("write the secrets: %w", err)
		}
	}
	for _, secret := range secrets {
		fmt.Fprintf(c.out, "kubectl create secret generic %s --from-file=%s\n", secret, filepath.Join(b.Out, secret))
	}
	return nil
}

func readFile(name string, limit int64) (b []byte, err error) {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read from
	return readBounded(root, filepath.Base(name), limit)
}

func openSecrets(sealed []byte, identities []age.Identity) ([]secretFile, error) {
	plain, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
			return nil, errors.New("it was not encrypted for this identity")
		}
		return nil, err
	}
	// To its end, which proves that nothing was cut off.
	archive, err := io.ReadAll(io.LimitReader(plain, 2*maxSecretsSize))
	if err != nil {
		return nil, err
	}
	return readArchive(archive)
}

// readArchive reads the tar that sealSecrets makes, and refuses any other.
func readArchive(archive []byte) ([]secretFile, error) {
	r := tar.NewReader(bytes.NewReader(archive))
	var files []secretFile
	seen := map[string]bool{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		secret, key, _ := strings.Cut(h.Name, "/")
		switch {
		case h.Typeflag != tar.TypeReg || !secretName(secret) || !secretName(key):
			return nil, fmt.Errorf("it holds %q, which is no key of a Secret", h.Name)
		case seen[h.Name]:
			return nil, fmt.Errorf("it holds %s twice", h.Name)
		case h.Size > maxSecretFile || len(files) == maxSecretFiles:
			return nil, fmt.Errorf("it holds more than %d files, or one larger than %d bytes", maxSecretFiles, maxSecretFile)
		}
		seen[h.Name] = true
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files = append(files, secretFile{secret, key, content})
	}
}

// secretName reports whether Kubernetes takes s as the name of a Secret or of a
// key in one; such a name is also a safe file name.
func secretName(s string) bool {
	if s == "" || len(s) > 253 || strings.HasPrefix(s, "..") || s == "." {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}
