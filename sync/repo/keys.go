package repo

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"golang.org/x/crypto/scrypt"

	"heron/internal/atomicfile"
)

// Passphrase asks for the passphrase of a key. fresh: the key is new, and a person should type it twice.
type Passphrase func(key string, fresh bool) ([]byte, error)

// ErrPassphrase says that a key could not be opened with what was given.
var ErrPassphrase = errors.New("wrong passphrase")

// The cost of guessing a passphrase: scrypt with 2^cost blocks of 1 KiB.
const (
	defaultCost = 16 // 64 MiB and about 0.2 s
	minCost     = 10
	maxCost     = 20
	keyFileMax  = 16 << 10
	minPhrase   = 8
)

// keyFile is a private key at rest: scrypt, then AES-256-GCM over the Ed25519 seed. Name and public key are authenticated with it.
type keyFile struct {
	V      int    `json:"v"`
	Name   string `json:"name"`
	Public string `json:"public"` // hex
	KDF    string `json:"kdf"`
	Cost   int    `json:"cost"`
	Salt   []byte `json:"salt"`
	Cipher string `json:"cipher"`
	Nonce  []byte `json:"nonce"`
	Box    []byte `json:"box"`
}

// key is a key file that has been found, and its private half once it has been opened.
type key struct {
	file keyFile
	path string
	pub  *metadata.Key
	id   string
	priv ed25519.PrivateKey
}

// keystore finds keys by their TUF identity, in a folder and in files named beside it, and opens each at most once.
type keystore struct {
	dir   string
	extra []string // files, such as those on a USB stick
	ask   Passphrase
	cost  int
	keys  map[string]*key
	known map[string]string // the names of keys, also of those that others hold, by identity
}

// load reads the public halves.
func (s *keystore) load() error {
	s.keys = map[string]*key{}
	found, err := filepath.Glob(filepath.Join(s.dir, "*.key"))
	if err != nil {
		return err
	}
	for _, path := range slices.Concat(found, s.extra) {
		k, err := readKey(path)
		if err != nil {
			return err
		}
		s.keys[k.id] = k
	}
	return nil
}

func readKey(path string) (*key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, keyFileMax))
	if err != nil {
		return nil, err
	}
	k := &key{path: path}
	if err := json.Unmarshal(data, &k.file); err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	pub, err := hex.DecodeString(k.file.Public)
	if err != nil || len(pub) != ed25519.PublicKeySize || k.file.V != 1 || k.file.KDF != "scrypt" || k.file.Cipher != "aes-256-gcm" || k.file.Cost < minCost || k.file.Cost > maxCost {
		return nil, fmt.Errorf("key file %s: not a key file of version 1", path)
	}
	k.pub, k.id, err = identity(pub)
	return k, err
}

func identity(pub ed25519.PublicKey) (*metadata.Key, string, error) {
	k, err := metadata.KeyFromPublicKey(pub)
	if err != nil {
		return nil, "", err
	}
	id, err := k.ID()
	return k, id, err
}

// generate makes a key and keeps it, encrypted, under a name that is not taken.
func (s *keystore) generate(role string, dryRun bool) (*key, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	k := &key{priv: priv}
	if k.pub, k.id, err = identity(pub); err != nil {
		return nil, err
	}
	k.file = keyFile{V: 1, Name: s.freeName(role), Public: hex.EncodeToString(pub), KDF: "scrypt", Cost: s.cost, Cipher: "aes-256-gcm"}
	k.path = filepath.Join(s.dir, k.file.Name+".key")
	s.keys[k.id] = k
	if dryRun {
		return k, nil
	}
	phrase, err := s.ask(k.file.Name, true)
	if err != nil {
		return nil, err
	}
	if len(phrase) < minPhrase {
		return nil, fmt.Errorf("the passphrase of %s is shorter than %d bytes", k.file.Name, minPhrase)
	}
	if err := k.seal(phrase); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(k.file, "", " ")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	return k, atomicfile.Write(k.path, append(data, '\n'), 0o600)
}

func (s *keystore) freeName(role string) string {
	taken := map[string]bool{}
	for _, name := range s.all() {
		taken[name] = true
	}
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s-%d", role, n)
		if _, err := os.Stat(filepath.Join(s.dir, name+".key")); err != nil && !taken[name] {
			return name
		}
	}
}

// aead derives the file's key from the passphrase.
func (f *keyFile) aead(phrase []byte) (cipher.AEAD, error) {
	secret, err := scrypt.Key(phrase, f.Salt, 1<<f.Cost, 8, 1, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (f *keyFile) authenticated() []byte { return []byte("heron key 1\n" + f.Name + "\n" + f.Public) }

func (k *key) seal(phrase []byte) error {
	k.file.Salt, k.file.Nonce = make([]byte, 16), make([]byte, 12)
	_, _ = rand.Read(k.file.Salt) // never fails
	_, _ = rand.Read(k.file.Nonce)
	box, err := k.file.aead(phrase)
	if err != nil {
		return err
	}
	k.file.Box = box.Seal(nil, k.file.Nonce, k.priv.Seed(), k.file.authenticated())
	return nil
}

// open gives the private half, asking for the passphrase the first time.
func (s *keystore) open(k *key) (ed25519.PrivateKey, error) {
	if k.priv != nil {
		return k.priv, nil
	}
	phrase, err := s.ask(k.file.Name, false)
	if err != nil {
		return nil, err
	}
	box, err := k.file.aead(phrase)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", k.path, err)
	}
	if len(k.file.Nonce) != box.NonceSize() {
		return nil, fmt.Errorf("key file %s: damaged", k.path)
	}
	seed, err := box.Open(nil, k.file.Nonce, k.file.Box, k.file.authenticated())
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("key file %s: %w, or the file is damaged", k.path, ErrPassphrase)
	}
	priv := ed25519.NewKeyFromSeed(seed)
	if hex.EncodeToString(priv.Public().(ed25519.PublicKey)) != k.file.Public {
		return nil, fmt.Errorf("key file %s: the private key is not the one of the public key", k.path)
	}
	k.priv = priv
	return priv, nil
}

// named finds a key by its name or the beginning of its identity among those that a role lists.
func (s *keystore) named(text string, ids []string) (string, error) {
	for i, name := range s.names(ids) {
		if name == text || (len(text) >= 8 && strings.HasPrefix(ids[i], text)) {
			return ids[i], nil
		}
	}
	return "", misuse("the role has no key %q; its keys are %s", text, strings.Join(s.names(ids), ", "))
}

// names are how people know the keys: by file where one is here, else as they were called when they were made, else by the first 12 digits
// of the identity.
func (s *keystore) names(ids []string) []string {
	var out []string
	for _, id := range ids {
		if k := s.keys[id]; k != nil {
			out = append(out, k.file.Name)
		} else {
			out = append(out, cmp.Or(s.known[id], id[:min(12, len(id))]))
		}
	}
	return out
}

// all the names that are known here, by identity.
func (s *keystore) all() map[string]string {
	all := map[string]string{}
	maps.Copy(all, s.known)
	for id, k := range s.keys {
		all[id] = k.file.Name
	}
	return all
}
