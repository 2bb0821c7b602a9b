package outbox

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// diskOp is one thing that a watched process did to the files of its outbox, or said.
type diskOp struct {
	kind byte // c create, w write, t truncate, s sync, r rename, u unlink, d sync of the folder, m said, x damage done from outside
	file string
	to   string
	off  int64
	data []byte
}

// straceArgs make strace print every string in hexadecimal, paths of descriptors included.
func straceArgs(log string) []string {
	return []string{"-f", "-y", "-xx", "-s", "300000", "--seccomp-bpf", "-o", log, "-e",
		"trace=openat,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,write"}
}

type straceParser struct {
	call, arg, fd, octets *regexp.Regexp
	dir                   string
	half                  map[string]string // calls that another thread's line interrupted
}

func newStraceParser(dir string) *straceParser {
	return &straceParser{
		call: regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (-?\d+)`), arg: regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`),
		fd: regexp.MustCompile(`^(\d+)<((?:\\x[0-9a-f]{2})*)>`), dir: dir, half: map[string]string{}}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		panic(err)
	}
	return b
}

// ours is the name of a file of the outbox, "." for its folder, or nothing.
func (p *straceParser) ours(path string) string {
	if path == p.dir {
		return "."
	}
	if filepath.Dir(path) == p.dir {
		return filepath.Base(path)
	}
	return ""
}

// line turns a line of strace's log into an operation, if it is one.
func (p *straceParser) line(l string) (diskOp, bool) {
	pid, _, _ := strings.Cut(l, " ")
	if i := strings.Index(l, " <unfinished ...>"); i >= 0 {
		p.half[pid] = l[:i]
		return diskOp{}, false
	}
	if i := strings.Index(l, " resumed>"); i >= 0 {
		l = p.half[pid] + l[i+len(" resumed>"):]
	}
	m := p.call.FindStringSubmatch(l)
	if m == nil || strings.HasPrefix(m[4], "-") {
		return diskOp{}, false
	}
	return p.decode(m[2], m[3], m[4])
}

func (p *straceParser) decode(call, args, ret string) (diskOp, bool) {
	var strs [][]byte
	for _, a := range p.arg.FindAllStringSubmatch(args, -1) {
		strs = append(strs, unhex(a[1]))
	}
	name, fd := "", ""
	if m := p.fd.FindStringSubmatch(args); m != nil {
		fd, name = m[1], p.ours(string(unhex(m[2])))
	}
	switch call {
	case "write":
		if fd == "1" {
			return diskOp{kind: 'm', data: strs[0]}, true
		}
	case "openat":
		name = p.ours(string(strs[0]))
		if name != "" && strings.Contains(args, "O_CREAT") {
			op := diskOp{kind: 'c', file: name}
			if strings.Contains(args, "O_TRUNC") {
				op.off = 1
			}
			return op, true
		}
	case "pwrite64":
		f := strings.Split(args, ", ")
		off, _ := strconv.ParseInt(f[len(f)-1], 10, 64)
		n, _ := strconv.Atoi(ret)
		return diskOp{kind: 'w', file: name, off: off, data: strs[0][:n]}, name != ""
	case "ftruncate":
		_, size, _ := strings.Cut(args, ", ")
		off, _ := strconv.ParseInt(size, 10, 64)
		return diskOp{kind: 't', file: name, off: off}, name != ""
	case "fsync", "fdatasync":
		if name == "." {
			return diskOp{kind: 'd'}, true
		}
		return diskOp{kind: 's', file: name}, name != ""
	case "rename", "renameat", "renameat2":
		a, b := p.ours(string(strs[0])), p.ours(string(strs[1]))
		return diskOp{kind: 'r', file: a, to: b}, a != ""
	case "unlink", "unlinkat":
		name = p.ours(string(strs[0]))
		return diskOp{kind: 'u', file: name}, name != ""
	}
	return diskOp{}, false
}

// simInode is a file's content: what is surely on the platter, and what was written since.
type simInode struct {
	durable []byte
	pending []diskOp
}

// simDisk is a disk with a volatile cache below a file system that keeps the order of names (a journal) and promises nothing about data
// that has not been synced.
type simDisk struct {
	durable map[string]*simInode // names as they are on the platter
	now     map[string]*simInode
	names   []diskOp // c, r, u since the folder was synced
	inodes  map[string]*simInode
}

func newSimDisk() *simDisk {
	return &simDisk{durable: map[string]*simInode{}, now: map[string]*simInode{}}
}

func (d *simDisk) do(o diskOp) {
	switch o.kind {
	case 'c':
		if d.now[o.file] == nil {
			d.now[o.file] = &simInode{}
			d.names = append(d.names, diskOp{kind: 'c', file: o.file, to: ""})
			d.inodeOf(o.file)
		} else if o.off == 1 {
			d.now[o.file].pending = append(d.now[o.file].pending, diskOp{kind: 't'})
		}
	case 'w', 't':
		f := d.now[o.file]
		f.pending = append(f.pending, o)
	case 's':
		f := d.now[o.file]
		for _, p := range f.pending {
			f.durable = applyOp(f.durable, p)
		}
		f.pending = nil
	case 'x':
		f := d.now[o.file]
		f.durable = applyOp(f.durable, diskOp{kind: 'w', off: o.off, data: o.data})
	case 'r', 'u':
		nameOp(d.now, o, nil)
		d.names = append(d.names, o)
	case 'd':
		d.durable, d.names, d.inodes = maps.Clone(d.now), nil, nil
	}
}

// inodeOf remembers which file a creation made, for when only some of the names survive.
func (d *simDisk) inodeOf(name string) {
	if d.inodes == nil {
		d.inodes = map[string]*simInode{}
	}
	d.inodes[fmt.Sprint(len(d.names)-1)] = d.now[name]
}

func nameOp(m map[string]*simInode, o diskOp, made *simInode) {
	switch o.kind {
	case 'c':
		m[o.file] = made
	case 'r':
		m[o.to] = m[o.file]
		delete(m, o.file)
	case 'u':
		delete(m, o.file)
	}
}

func applyOp(b []byte, o diskOp) []byte {
	if o.kind == 't' {
		for int64(len(b)) < o.off {
			b = append(b, make([]byte, o.off-int64(len(b)))...)
		}
		return b[:o.off]
	}
	if end := o.off + int64(len(o.data)); int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[o.off:], o.data)
	return b
}

// crash is what is found after the power was cut. How: 0 nothing that was not synced, 1 all of it, 2 all but the last write, which is torn,
// 3 and more a random part of it, with torn sectors.
func (d *simDisk) crash(how int, rng *rand.Rand) map[string][]byte {
	names := maps.Clone(d.durable)
	upto := len(d.names)
	switch {
	case how == 0:
		upto = 0
	case how > 2 && upto > 0:
		upto = rng.IntN(upto + 1)
	}
	for i, o := range d.names[:upto] {
		nameOp(names, o, d.inodes[fmt.Sprint(i)])
	}
	out := map[string][]byte{}
	for n, f := range names {
		if f != nil {
			out[n] = f.crash(how, rng)
		}
	}
	return out
}

func (f *simInode) crash(how int, rng *rand.Rand) []byte {
	b := append([]byte(nil), f.durable...)
	for i, o := range f.pending {
		torn := how == 2 && i == len(f.pending)-1 || how > 2 && rng.IntN(3) == 0
		if how == 0 || how > 2 && rng.IntN(2) == 0 {
			continue
		}
		if o.kind == 't' || !torn {
			b = applyOp(b, o)
			continue
		}
		for x := 0; x < len(o.data); x += 512 {
			if rng.IntN(2) == 0 {
				b = applyOp(b, diskOp{kind: 'w', off: o.off + int64(x), data: o.data[x:min(x+512, len(o.data))]})
			}
		}
	}
	return b
}

// lay writes the files of a state into dir.
func lay(dir string, files map[string][]byte) error {
	for n, b := range files {
		if err := os.WriteFile(filepath.Join(dir, n), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
