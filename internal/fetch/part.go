package fetch

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
	"time"

	"golang.org/x/sys/unix"

	"heron/internal/atomicfile"
)

const (
	partSuffix    = ".part"
	journalSuffix = ".part.journal"
	blockSize     = 64 << 10
	syncBytes     = 1<<20 - 2*blockSize // with the block that goes over it, what a power cut takes stays below 1 MiB
	syncAge       = 5 * time.Second
)

// part is a file under way: its bytes, and a journal that says how many of them are on the disk for certain.
type part struct {
	path, sum string
	size      int64
	f         *os.File
	j         *journal
	state     record
	synced    time.Time // when, and
	safe      int64     // how many bytes
	failed    bool      // a sync failed: the system may have dropped what it could not write, and says so only once
}

// openPart opens or makes the two files beside path, holds them against others, reserves the space and finds out what is there already.
func openPart(path string, size int64, sum string, keep int64) (*part, error) {
	p := &part{path: path, size: size, sum: sum, synced: time.Now()}
	f, err := os.OpenFile(path+partSuffix, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, p.space(err, keep)
	}
	p.f = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrBusy)
	}
	if !p.current() { // finished by another between our open and our lock
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrBusy)
	}
	if err := p.begin(keep); err != nil {
		var space *SpaceError
		if errors.As(err, &space) || p.state.Done == 0 {
			p.remove()
		} else {
			_ = p.release()
		}
		return nil, err
	}
	return p, nil
}

// current is true while the file that we hold is the one with that name.
func (p *part) current() bool {
	a, errA := p.f.Stat()
	b, errB := os.Lstat(p.path + partSuffix)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func (p *part) begin(keep int64) error {
	var err error
	if p.j, err = openJournal(p.path + journalSuffix); err != nil {
		return p.space(err, keep)
	}
	p.state = p.j.read()
	st, err := p.f.Stat()
	if err != nil {
		return err
	}
	if s := p.state; s.Size != p.size || s.SHA256 != p.sum || s.Done < 0 || s.Done > p.size || s.Done > st.Size() {
		p.state = record{}
	}
	if err := p.reserve(keep); err != nil {
		return err
	}
	return p.anewFrom(p.state.Done)
}

// anewFrom keeps that many bytes and nothing else.
func (p *part) anewFrom(done int64) error {
	p.state.Size, p.state.SHA256, p.state.Done, p.safe = p.size, p.sum, done, done
	if done == 0 {
		p.state.Validator, p.state.From, p.state.Mixed = "", "", false
	}
	if st, err := p.f.Stat(); err != nil || st.Size() > done { // without this, reserved blocks are kept
		if err := p.f.Truncate(done); err != nil {
			return fmt.Errorf("shorten the part: %w", err)
		}
		if err := p.reserve(0); err != nil {
			return err
		}
	}
	if err := p.j.write(p.state); err != nil {
		return p.space(fmt.Errorf("write the journal: %w", err), 0)
	}
	if err := atomicfile.SyncDir(filepath.Dir(p.path)); err != nil {
		return err
	}
	_, err := p.f.Seek(done, io.SeekStart)
	return err
}

// reserve takes the blocks before a byte is asked for. Where the file system cannot, the free space must do at this moment.
func (p *part) reserve(keep int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(p.f.Fd()), &st); err != nil {
		return err
	}
	need := p.size - min(p.size, st.Blocks*512)
	if free, _ := p.free(); need > 0 && free >= 0 && need+keep > free {
		return &SpaceError{Path: p.path, Need: need, Keep: keep, Free: free}
	}
	if p.size == 0 {
		return nil
	}
	err := uninterrupted(func() error { return unix.Fallocate(int(p.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, p.size) })
	if err == nil || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return p.space(fmt.Errorf("reserve the space: %w", err), keep)
}

// uninterrupted repeats a system call that a signal, one of Go's own perhaps, broke off.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// free is what the file system has for us: bytes (-1: unknown) and whether it has a name left.
func (p *part) free() (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(p.path), &st); err != nil {
		return -1, true
	}
	return int64(st.Bavail) * int64(st.Bsize), st.Files == 0 || st.Ffree > 0
}

// space turns an error for want of room into one with the numbers.
func (p *part) space(err error, keep int64) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.EFBIG) {
		return err
	}
	free, names := p.free()
	return &SpaceError{Path: p.path, Need: p.size, Keep: keep, Free: free, Inodes: !names, Err: err}
}

// write appends a block; every MiB, and whenever what is not safe gets old, what is there is made safe.
func (p *part) write(b []byte) error {
	n, err := p.f.Write(b)
	p.state.Done += int64(n)
	if err != nil {
		return p.space(fmt.Errorf("write %s: %w", p.path+partSuffix, err), 0)
	}
	if p.state.Done-p.safe >= syncBytes || time.Since(p.synced) >= syncAge {
		return p.sync()
	}
	return nil
}

// sync makes safe what is there: first the bytes, then the journal that vouches for them.
func (p *part) sync() error {
	if p.state.Done == p.safe || p.failed {
		return nil
	}
	if err := uninterrupted(func() error { return unix.Fdatasync(int(p.f.Fd())) }); err != nil {
		p.failed = true
		return p.space(fmt.Errorf("sync %s: %w", p.path+partSuffix, err), 0)
	}
	if err := p.j.write(p.state); err != nil {
		p.failed = true
		return p.space(fmt.Errorf("write the journal: %w", err), 0)
	}
	p.safe, p.synced = p.state.Done, time.Now()
	return nil
}

// verify hashes the whole as it lies on the disk: synced first, and read anew rather than from memory where the system lets us.
func (p *part) verify(ctx context.Context) error {
	if err := p.f.Sync(); err != nil {
		p.failed = true
		return fmt.Errorf("sync %s: %w", p.path+partSuffix, err)
	}
	_ = unix.Fadvise(int(p.f.Fd()), 0, 0, unix.FADV_DONTNEED)
	got, err := digestOf(ctx, io.NewSectionReader(p.f, 0, p.size+1))
	if err != nil {
		return fmt.Errorf("read %s again: %w", p.path+partSuffix, err)
	}
	if got != p.sum {
		return fmt.Errorf("%w: %s… and not %s…", ErrDigest, got[:12], p.sum[:12])
	}
	return nil
}

func digestOf(ctx context.Context, r io.Reader) (string, error) {
	h, b := sha256.New(), make([]byte, blockSize)
	for ctx.Err() == nil {
		n, err := r.Read(b)
		h.Write(b[:n])
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", context.Cause(ctx)
}

// place gives the verified file its name.
func (p *part) place() error {
	if err := os.Rename(p.path+partSuffix, p.path); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(p.path)); err != nil {
		return err
	}
	_ = os.Remove(p.path + journalSuffix) // if it stays, the next openPart finds that it is about nothing
	return nil
}

// close keeps what is there for the next time.
func (p *part) close() error {
	err := p.sync()
	return errors.Join(err, p.release())
}

// Discard removes what an unfinished File left for path; it is for a file that is not wanted any more. Not while a File for path is under way.
func Discard(path string) error {
	var errs [2]error
	for i, suffix := range []string{partSuffix, journalSuffix} {
		if err := os.Remove(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs[i] = err
		}
	}
	return errors.Join(errs[:]...)
}

// remove leaves nothing.
func (p *part) remove() {
	_ = os.Remove(p.path + partSuffix)
	_ = os.Remove(p.path + journalSuffix)
	_ = p.release()
}

func (p *part) release() error {
	var err error
	if p.j != nil {
		err = p.j.f.Close()
	}
	return errors.Join(err, p.f.Close())
}
