package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

// store is the folder of the bundles:
//
//	sha256/DIGEST/        whole and verified, named after the signed archive
//	incoming/DIGEST…      an archive on its way, with what its fetching keeps beside it
//	incoming/DIGEST.new/  unpacked, not yet verified
//	configured/           archives that the configuration names, unpacked
//	good-SLOT.json        the last confirmed model, should the journal be lost
type store struct {
	dir      string
	maxBytes int64
	keepFree int64
}

func (s *store) folder(digest string) string   { return filepath.Join(s.dir, "sha256", digest) }
func (s *store) incoming(digest string) string { return filepath.Join(s.dir, "incoming", digest) }
func (s *store) aside(digest string) string    { return s.incoming(digest) + ".new" }
func (s *store) archive(digest string) string  { return s.incoming(digest) + ".tar.zst" }

func (s *store) make() error {
	for _, d := range []string{"sha256", "incoming"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			return fmt.Errorf("make the folder for models: %w", err)
		}
	}
	return nil
}

// checkFolder says whether a folder is the bundle whose manifest has this digest (empty: any). quick leaves the files' digests to
// whoever loads them.
func checkFolder(dir, want string, quick bool) (*manifest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m, err := readManifest(root, want)
	if err != nil {
		return nil, err
	}
	return m, m.checkFiles(root, quick)
}

// room says whether the archive and its files fit: the disk, its inodes, and the bound of the store. Nothing is asked of a server before.
func (s *store) room(o Offer, unpacked int64) error {
	if lim := defaultLimits(); o.Size > lim.archive || unpacked > lim.total {
		return &Refusal{Check: CheckSize, Reason: fmt.Sprintf("it is too large: %d bytes, unpacked %d; at most %d MiB are taken", o.Size, unpacked, lim.archive>>20)}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	have := s.incomingBytes(o.SHA256)
	need := max(o.Size+unpacked-have, 0)
	free := int64(st.Bavail) * st.Bsize
	if need+s.keepFree > free {
		return fmt.Errorf("no room: it needs %d bytes and %d must stay free, there are %d", need, s.keepFree, free)
	}
	if st.Files > 0 && st.Ffree < 16 {
		return fmt.Errorf("no room: the file system has %d inodes left", st.Ffree)
	}
	used, err := treeBytes(filepath.Join(s.dir, "sha256"))
	if err != nil {
		return fmt.Errorf("ask for the size of the store: %w", err)
	}
	if s.maxBytes > 0 && used+unpacked > s.maxBytes {
		return fmt.Errorf("no room: it needs %d bytes, the store may have %d and those that are kept have %d", unpacked, s.maxBytes, used)
	}
	return nil
}

func (s *store) incomingBytes(digest string) int64 {
	info, err := os.Stat(s.archive(digest))
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

func treeBytes(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// unpackedBound is how many bytes the files of an offer may have.
func unpackedBound(o Offer, c Custom) int64 {
	if c.Unpacked > 0 {
		return c.Unpacked + 1<<20 // the manifest and rounding
	}
	return 4*o.Size + 1<<20
}

// verify checks the archive against what was signed, unpacks it aside, and checks every file. What Source made by a patch is a folder already.
func (s *store) verify(ctx context.Context, o Offer, unpacked int64) (*manifest, error) {
	path, aside := s.archive(o.SHA256), s.aside(o.SHA256)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("look for what was fetched: %w", err)
	}
	if info.IsDir() {
		if !isDigest(o.Manifest) {
			return nil, errors.New("a bundle made by a patch needs the signed digest of its manifest")
		}
		m, err := checkFolder(path, o.Manifest, false)
		if err != nil {
			return nil, &notSigned{"what a patch made is not what was signed: " + err.Error()}
		}
		return m, nil
	}
	if err := os.RemoveAll(aside); err != nil {
		return nil, fmt.Errorf("clear the place to unpack into: %w", err)
	}
	if err := os.Mkdir(aside, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder to unpack into: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open what was fetched: %w", err)
	}
	defer f.Close()
	lim := defaultLimits()
	lim.total = min(lim.total, unpacked)
	h, n := sha256.New(), &counter{r: f}
	in := io.TeeReader(io.LimitReader(&canceled{ctx, n}, o.Size+1), h)
	failed := unpack(in, aside, lim)
	if _, err := io.Copy(io.Discard, in); err != nil { // in hashes what is read of it
		return nil, fmt.Errorf("read what was fetched: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); n.n != o.Size || got != o.SHA256 { // says more than what unpacking stumbled over
		return nil, &notSigned{fmt.Sprintf("what was fetched is not what was signed: %d bytes with digest %s…, signed are %d bytes with %s…", n.n, got[:12], o.Size, o.SHA256[:12])}
	}
	if failed != nil {
		return nil, ofModel(failed)
	}
	m, err := checkFolder(aside, o.Manifest, false)
	if err != nil {
		return nil, ofModel(err)
	}
	return m, syncTree(aside)
}

// notSigned is a fetched file that is not the signed one: not the model's fault. It is removed, and fetched again.
type notSigned struct{ what string }

func (e *notSigned) Error() string { return e.what }

// ofModel tells a bundle that is no good from a disk that is none.
func ofModel(err error) error {
	var sys unix.Errno
	if errors.As(err, &sys) && sys != unix.EEXIST && sys != unix.ENOENT && sys != unix.ENOTDIR && sys != unix.ELOOP || errors.Is(err, context.Canceled) {
		return err
	}
	return &Refusal{Check: CheckArchive, Reason: err.Error()}
}

// keep moves a verified folder to its last name. Doing it twice is harmless.
func (s *store) keep(digest, manifest string) error {
	last := s.folder(digest)
	if _, err := checkFolder(last, manifest, false); err == nil {
		return atomicfile.SyncDir(filepath.Dir(last))
	}
	from := s.aside(digest)
	if info, err := os.Lstat(s.archive(digest)); err == nil && info.IsDir() {
		from = s.archive(digest)
	}
	if _, err := checkFolder(from, manifest, false); err != nil {
		return &notSigned{fmt.Sprintf("what was verified is not there any more: %v", err)}
	}
	if err := syncTree(from); err != nil {
		return fmt.Errorf("sync the bundle: %w", err)
	}
	if err := os.RemoveAll(last); err != nil { // something without the right manifest is in the way
		return fmt.Errorf("clear the place of the bundle: %w", err)
	}
	if err := os.Rename(from, last); err != nil {
		return fmt.Errorf("move the bundle into place: %w", err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(last)); err != nil {
		return fmt.Errorf("sync the folder of the bundles: %w", err)
	}
	return nil
}

// forget removes what is on its way of a digest.
func (s *store) forget(digest string) {
	if isDigest(digest) {
		s.clear(context.Background(), "incoming", func(name string) bool { return !strings.HasPrefix(name, digest) })
	}
}

// collect removes all bundles but those in keep, and all on their way but those in coming. It looks at names in slices, so a
// folder with a hundred thousand leftovers holds nobody up, and ends with ctx.
func (s *store) collect(ctx context.Context, keep, coming map[string]bool) int {
	n := s.clear(ctx, "sha256", func(name string) bool { return keep[name] })
	return n + s.clear(ctx, "incoming", func(name string) bool { return len(name) >= 64 && coming[name[:64]] })
}

func (s *store) clear(ctx context.Context, sub string, keep func(string) bool) (removed int) {
	dir := filepath.Join(s.dir, sub)
	d, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			if ctx.Err() != nil {
				return removed
			}
			if !keep(name) && os.RemoveAll(filepath.Join(dir, name)) == nil {
				removed++
			}
		}
		if err != nil || len(names) == 0 {
			return removed
		}
	}
}

// canceled makes a long read end with its context.
type canceled struct {
	ctx context.Context
	r   io.Reader
}

func (c *canceled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
