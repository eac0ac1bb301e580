// Package seal encrypts what the bot keeps at rest: the bodies of webhook
// deliveries in the database, and tokens and answers in the cache. It is about
// values that somebody could read in a stolen dump or on a shared Redis; it does
// not hide anything from the program itself, and it keeps no keys.
//
// A sealed value is
//
//	magic (7 bytes) | key id (8) | salt (32) | AES-256-GCM of (form (1) | value)
//
// Each value has a key of its own, HKDF-SHA256 of the operator's key and the
// salt, so that no number of values wears a key out and the nonce can be zero.
// What stands before the ciphertext, and the place that the value belongs to
// (table, column, row), are authenticated: a sealed value that was copied to
// another row doesn't open there. Values of a kilobyte and more are deflated
// first, since a database can't compress what is encrypted.
package seal

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = 32
	// MaxValue bounds what is sealed, in bytes, and what comes out of a sealed
	// value: GitHub's largest delivery has 25 MiB.
	MaxValue = 32 << 20
	// Overhead is by how many bytes a sealed value is longer than the value at most.
	Overhead = headerSize + saltSize + 1 + tagSize

	// magic begins every sealed value. Its NUL keeps it apart from JSON and from
	// every other text that was stored before there was a key.
	magic      = "\x00seal1\x00"
	idSize     = 8
	headerSize = len(magic) + idSize
	saltSize   = 32
	tagSize    = 16
	// deflateFrom is the length from which a value is deflated.
	deflateFrom = 1 << 10

	formRaw      = 0
	formDeflated = 1
)

// Conditions that callers tell apart with errors.Is.
var (
	// ErrKeyMissing: the value is sealed with a key that this program wasn't given.
	// It is Transient: in a rollout the next try meets a process that has the key.
	ErrKeyMissing = errors.New("sealed with a key that is not set")
	// ErrCorrupt: the value was changed, cut, or moved to another place. It is
	// Invalid, since it will never be right again.
	ErrCorrupt = errors.New("sealed value is damaged")
)

// Keyring holds the key that seals and the keys that still open. The nil Keyring
// is usable: it leaves values as they are, and refuses sealed ones. A Keyring is
// safe for concurrent use.
type Keyring struct {
	keys []key // the current one first
}

type key struct {
	id     [idSize]byte
	secret []byte
}

// New makes a Keyring of the current key and of those that still open, KeySize
// bytes each. The error is Invalid and never shows a key.
func New(current []byte, previous ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for i, secret := range append([][]byte{current}, previous...) {
		if len(secret) != KeySize {
			return nil, domain.Errorf(domain.Invalid, "read the encryption keys", "key %d has %d bytes instead of %d (`openssl rand -base64 32` makes one)", i+1, len(secret), KeySize)
		}
		id, err := hkdf.Key(sha256.New, secret, nil, "mlops-bot seal key id", idSize)
		if err != nil {
			return nil, domain.Errorf(domain.Bug, "read the encryption keys", "%w", err)
		}
		k.keys = append(k.keys, key{id: [idSize]byte(id), secret: slices.Clone(secret)})
	}
	return k, nil
}

// Parse is New for keys in base64, as ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS
// hold them. Without any key it returns nil, the Keyring that seals nothing.
func Parse(current string, previous ...string) (*Keyring, error) {
	const op = "read the encryption keys"
	var keys [][]byte
	for i, text := range append([]string{current}, previous...) {
		if text = strings.TrimSpace(text); text == "" {
			if i == 0 && strings.Join(previous, "") != "" {
				return nil, domain.Errorf(domain.Invalid, op, "a previous key is set and the current one (ENCRYPTION_KEY) is not")
			}
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			// The decoder's error quotes the key.
			return nil, domain.Errorf(domain.Invalid, op, "key %d is not base64 (`openssl rand -base64 32` makes one)", i+1)
		}
		keys = append(keys, secret)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	return New(keys[0], keys[1:]...)
}

// Format prints the ids of the keys, whatever the verb: never the keys.
func (k *Keyring) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "seal.Keyring%v", k.IDs()) }

// IDs names the keys, the current one first, in 16 hex digits each. An id says
// nothing about its key.
func (k *Keyring) IDs() []string {
	ids := []string{}
	if k != nil {
		for _, one := range k.keys {
			ids = append(ids, hex.EncodeToString(one.id[:]))
		}
	}
	return ids
}

// Header is how every value begins that the current key has sealed; nil for the
// nil Keyring.
func (k *Keyring) Header() []byte {
	if k == nil {
		return nil
	}
	return append([]byte(magic), k.keys[0].id[:]...)
}

// Magic is how every sealed value begins.
func Magic() []byte { return []byte(magic) }

// HeaderSize is the length of what Header returns, and of what KeyID reads.
const HeaderSize = headerSize

// Sealed reports whether a value begins as sealed ones do.
func Sealed(value []byte) bool { return bytes.HasPrefix(value, []byte(magic)) }

// KeyID returns the id of the key that a value is sealed with, "" for a value
// that isn't sealed. HeaderSize bytes of the value are enough.
func KeyID(value []byte) string {
	if !Sealed(value) || len(value) < headerSize {
		return ""
	}
	return hex.EncodeToString(value[len(magic):headerSize])
}

// Current reports whether a value is as Seal would leave it: sealed with the
// current key or, by the nil Keyring, not at all.
func (k *Keyring) Current(value []byte) bool {
	if k == nil {
		return !Sealed(value)
	}
	return bytes.HasPrefix(value, k.Header())
}

// Seal encrypts a value for a place, which names where it is kept ("deliveries",
// "body", id). The nil Keyring returns the value as it is. The error is Invalid
// for a value larger than MaxValue and, of the nil Keyring, for one that would be
// taken for a sealed one.
func (k *Keyring) Seal(value []byte, place ...string) ([]byte, error) {
	const op = "seal a value"
	if len(value) > MaxValue {
		return nil, domain.Errorf(domain.Invalid, op, "it has %d bytes, more than %d: %w", len(value), MaxValue, domain.ErrTooLarge)
	}
	if k == nil {
		if Sealed(value) {
			return nil, domain.Errorf(domain.Invalid, op, "it begins as a sealed one and there is no key")
		}
		return value, nil
	}
	form, packed := pack(value)
	sealed := make([]byte, 0, Overhead+len(packed))
	sealed = append(sealed, k.Header()...)
	salt := make([]byte, saltSize)
	// It never fails: the program ends where there is no randomness.
	_, _ = rand.Read(salt)
	sealed = append(sealed, salt...)
	aead, err := k.keys[0].aead(salt)
	if err != nil {
		return nil, domain.Errorf(domain.Bug, op, "%w", err)
	}
	ad := associated(sealed, place)
	// The plaintext is put where the ciphertext goes: encrypting in place saves a
	// copy of up to 32 MiB.
	begin := len(sealed)
	sealed = append(append(sealed, form), packed...)
	encrypted := aead.Seal(sealed[begin:begin], make([]byte, aead.NonceSize()), sealed[begin:], ad) //nolint:gosec // the key is this value's own
	return append(sealed[:begin], encrypted...), nil
}

// Open decrypts a value that was sealed for a place by any of the keys. A value
// that isn't sealed is returned as it is: it was stored before there was a key.
// The error wraps ErrKeyMissing or ErrCorrupt.
func (k *Keyring) Open(value []byte, place ...string) ([]byte, error) {
	const op = "open a sealed value"
	if !Sealed(value) {
		return value, nil
	}
	if len(value) < Overhead {
		return nil, domain.Errorf(domain.Invalid, op, "%w: it is cut off after %d bytes", ErrCorrupt, len(value))
	}
	id := KeyID(value)
	var with *key
	if k != nil {
		if at := slices.IndexFunc(k.keys, func(one key) bool { return hex.EncodeToString(one.id[:]) == id }); at >= 0 {
			with = &k.keys[at]
		}
	}
	if with == nil {
		return nil, domain.Errorf(domain.Transient, op, "%w: set the key with the id %s as ENCRYPTION_KEY or ENCRYPTION_KEY_PREVIOUS", ErrKeyMissing, id)
	}
	head := value[:headerSize+saltSize]
	aead, err := with.aead(head[headerSize:])
	if err != nil {
		return nil, domain.Errorf(domain.Bug, op, "%w", err)
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), value[len(head):], associated(head, place))
	if err != nil {
		return nil, domain.Errorf(domain.Invalid, op, "%w, or belongs to another place than %s: restore it from a backup or have it delivered again", ErrCorrupt, strings.Join(place, "/"))
	}
	out, err := unpack(plain[0], plain[1:])
	if err != nil {
		return nil, domain.Errorf(domain.Invalid, op, "%w: %w", ErrCorrupt, err)
	}
	return out, nil
}

// aead is the cipher of one value.
func (k key) aead(salt []byte) (cipher.AEAD, error) {
	secret, err := hkdf.Key(sha256.New, k.secret, salt, "mlops-bot seal value", KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// associated is what is authenticated beside the value.
func associated(head []byte, place []string) []byte {
	return append(slices.Clone(head), domain.Hash(place...)...)
}

// deflaters keeps what deflates: each holds more than a megabyte.
var deflaters sync.Pool

// pack makes a value smaller where that is worth it.
func pack(value []byte) (form byte, packed []byte) {
	if len(value) < deflateFrom {
		return formRaw, value
	}
	var b bytes.Buffer
	var err error
	w, ok := deflaters.Get().(*flate.Writer)
	if ok {
		w.Reset(&b)
	} else if w, err = flate.NewWriter(&b, flate.BestSpeed); err != nil {
		return formRaw, value
	}
	_, err = w.Write(value)
	err = errors.Join(err, w.Close())
	deflaters.Put(w)
	if err != nil || b.Len() >= len(value) {
		return formRaw, value
	}
	return formDeflated, b.Bytes()
}

func unpack(form byte, packed []byte) ([]byte, error) {
	switch form {
	case formRaw:
		return packed, nil
	case formDeflated:
		r := flate.NewReader(bytes.NewReader(packed))
		out, err := io.ReadAll(io.LimitReader(r, MaxValue+1))
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, fmt.Errorf("inflate it: %w", err)
		}
		if len(out) > MaxValue {
			return nil, fmt.Errorf("inflated it has more than %d bytes", MaxValue)
		}
		return out, nil
	default:
		return nil, fmt.Errorf("its form %d is not known", form)
	}
}
