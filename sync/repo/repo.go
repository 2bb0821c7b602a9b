// Package repo is the publisher's side of the signed repository: it makes The Update Framework's metadata (TUF 1.0) as plain files
// that any static web server or object store can hold. Keys rest in files under a passphrase. A change is staged until enough key
// holders have signed it, then published file by file, the timestamp last: a reader always finds one consistent whole.
//
// The folder holds public/ (to be uploaded: metadata/ and targets/), keys/ (never), staged/ (what waits for signatures), settings.json.
package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

// Config of a Repo. Now may be nil.
type Config struct {
	Dir        string
	Keys       []string // key files beside those in Dir/keys
	Passphrase Passphrase
	DryRun     bool // say what would be done; ask for no passphrase, write nothing
	Cost       int  // of new keys' passphrases, as a power of two; 0: 16
	Now        func() time.Time
}

// Repo works on one folder; one process at a time, which a lock file holds.
type Repo struct {
	conf     Config
	keys     keystore
	settings settings
	lock     *os.File
}

// Expiry is how long each role's signature lasts.
type Expiry struct {
	Root, Targets, Snapshot, Timestamp time.Duration
}

// DefaultExpiry is for a publisher who runs refresh daily: a year, half a year, two weeks, three days.
func DefaultExpiry() Expiry {
	const day = 24 * time.Hour
	return Expiry{Root: 365 * day, Targets: 180 * day, Snapshot: 14 * day, Timestamp: 3 * day}
}

func (e Expiry) validate() error {
	for _, d := range []time.Duration{e.Root, e.Targets, e.Snapshot, e.Timestamp} {
		if d < time.Hour || d > 20*365*24*time.Hour {
			return misuse("a lifetime of %s; it must be between an hour and 20 years", d)
		}
	}
	if e.Timestamp > e.Snapshot || e.Snapshot > e.Root {
		return misuse("lifetimes must not grow from root over snapshot to timestamp")
	}
	return nil
}

// settings are what later commands must know and nobody signs.
type settings struct {
	V      int               `json:"v"`
	Expiry Expiry            `json:"expiry_ns"`
	Names  map[string]string `json:"key_names,omitempty"` // by identity: also of the keys that have been given away
}

// Folders and files inside Dir.
const (
	publicDir    = "public"
	metadataDir  = "public/metadata"
	targetsDir   = "public/targets"
	stagedDir    = "staged"
	droppedDir   = ".dropped" // was staged; on its way to nothing
	keysDir      = "keys"
	settingsFile = "settings.json"
)

// issuedField is read by package trust as a lower bound of the time.
const issuedField = "x-heron-issued"

// Misuse is an error of whoever asked: a number out of range, a key, a role or a folder that there is not. Nothing was changed.
type Misuse struct{ what string }

func (m *Misuse) Error() string { return m.what }

func misuse(format string, args ...any) error { return &Misuse{fmt.Sprintf(format, args...)} }

// NoRepository is the error for a folder that Init did not make.
func NoRepository(dir string) error {
	return misuse("%q is no repository (it has no %s); make one with heron fleet repo init, or name another folder with --repo", dir, settingsFile)
}

// Open takes the lock on an existing repository. Close gives it back.
func Open(conf Config) (*Repo, error) {
	r := fresh(conf)
	data, err := os.ReadFile(r.path(settingsFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, NoRepository(conf.Dir)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &r.settings); err != nil || r.settings.V != 1 {
		return nil, fmt.Errorf("%s: not of version 1: %w", r.path(settingsFile), errors.Join(err))
	}
	r.keys.known = r.settings.Names
	if err := r.takeLock(); err != nil {
		return nil, err
	}
	if !conf.DryRun {
		err = r.sweep()
	}
	if err = errors.Join(err, r.keys.load()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func fresh(conf Config) *Repo {
	if conf.Now == nil {
		conf.Now = time.Now
	}
	if conf.Cost == 0 {
		conf.Cost = defaultCost
	}
	return &Repo{conf: conf, keys: keystore{dir: filepath.Join(conf.Dir, keysDir), extra: conf.Keys, ask: conf.Passphrase, cost: conf.Cost}}
}

func (r *Repo) saveSettings() error {
	r.settings.Names = r.keys.all()
	data, err := json.MarshalIndent(r.settings, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(r.path(settingsFile), append(data, '\n'), 0o644)
}

func (r *Repo) takeLock() error {
	f, err := os.OpenFile(r.path(".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%s is in use by another heron fleet repo: %w", r.conf.Dir, err), f.Close())
	}
	r.lock = f
	return nil
}

// Close gives the lock back.
func (r *Repo) Close() error {
	if r.lock == nil {
		return nil
	}
	return r.lock.Close()
}

func (r *Repo) path(parts ...string) string {
	return filepath.Join(append([]string{r.conf.Dir}, parts...)...)
}

// Public is the folder to upload.
func (r *Repo) Public() string { return r.path(publicDir) }
