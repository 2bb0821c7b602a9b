// Package v4l2 binds cameras by what lasts: serial number, place on the bus, name. It finds the node that a camera has at the
// moment and leaves the pictures to another driver. Only sysfs and a few harmless ioctls are asked; no library is needed.
package v4l2

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"heron/camera"
)

// Roots are where the kernel shows its devices; a test moves them. The zero value is HERON_SYSFS and HERON_DEV, else /sys and /dev.
type Roots struct{ Sysfs, Dev string }

func (r Roots) sysfs() string { return cmp.Or(r.Sysfs, os.Getenv("HERON_SYSFS"), "/sys") }
func (r Roots) dev() string   { return cmp.Or(r.Dev, os.Getenv("HERON_DEV"), "/dev") }

// node is a video node that may be a camera.
type node struct {
	camera.Attached
	number int
	index  int // among the nodes of its device: the first of a USB camera takes pictures, the second tells about them
	usb    bool
}

// List names every camera that is attached, in the order of their nodes: nodes that take pictures, one of each USB camera.
func (r Roots) List() ([]camera.Attached, error) {
	class := filepath.Join(r.sysfs(), "class/video4linux")
	entries, err := os.ReadDir(class)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("look for cameras: %w", err)
	}
	var nodes []node
	for _, e := range entries {
		if n, ok := r.read(filepath.Join(class, e.Name())); ok {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Or(a.index-b.index, a.number-b.number) })
	var out []camera.Attached
	for _, n := range nodes {
		taken := n.usb && slices.ContainsFunc(out, func(c camera.Attached) bool { return c.Interface == n.Interface })
		if takes, known := capture(n.Node); taken || known && !takes || !known && n.usb && n.index > 0 {
			continue
		}
		out = append(out, n.Attached)
	}
	slices.SortFunc(out, func(a, b camera.Attached) int {
		return cmp.Or(number(a.Node)-number(b.Node), strings.Compare(a.Node, b.Node))
	})
	for i := range out {
		out[i].Source = lasting(out[i], out)
	}
	return out, nil
}

var (
	videoNode    = regexp.MustCompile(`^video([0-9]+)$`)
	usbInterface = regexp.MustCompile(`^([0-9]+-[0-9.]+):[0-9.]+$`)
)

func number(node string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(node), "video"))
	return n
}

// read takes what sysfs shows of one node. A device may go while it is read: what is missing then is empty.
func (r Roots) read(dir string) (node, bool) {
	m := videoNode.FindStringSubmatch(filepath.Base(dir))
	if m == nil {
		return node{}, false
	}
	var n node
	n.number, _ = strconv.Atoi(m[1])
	n.index, _ = strconv.Atoi(line(filepath.Join(dir, "index")))
	n.Name = line(filepath.Join(dir, "name"))
	n.Node = filepath.Join(r.dev(), m[0])
	device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil {
		return n, n.Name != ""
	}
	if driver, err := os.Readlink(filepath.Join(device, "driver")); err == nil {
		n.Driver = filepath.Base(driver)
	}
	n.Path, n.Interface = filepath.Base(device), filepath.Base(device)
	if u := usbInterface.FindStringSubmatch(n.Path); u != nil {
		n.usb, n.Path = true, u[1]
		n.Serial = line(filepath.Join(filepath.Dir(device), "serial"))
	}
	return n, true
}

// line is a sysfs file's text, printable and not long: a device wrote it.
func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return -1
		}
		return r
	}, strings.TrimSpace(string(b)))
	if len(clean) > 128 {
		clean = strings.ToValidUTF8(clean[:128], "")
	}
	return clean
}

// keys are a camera's names, most lasting first.
var keys = []struct {
	what string
	of   func(camera.Attached) string
}{
	{"serial number", func(c camera.Attached) string { return c.Serial }},
	{"USB path", func(c camera.Attached) string { return c.Path }},
	{"USB interface", func(c camera.Attached) string { return c.Interface }},
	{"name", func(c camera.Attached) string { return c.Name }},
}

// lasting is the source that names c and no other.
func lasting(c camera.Attached, all []camera.Attached) string {
	order := keys
	if !usbInterface.MatchString(c.Interface) { // a platform device's name says more than its path
		order = keys[len(keys)-1:]
	}
	for _, k := range order {
		if v := k.of(c); v != "" && len(having(all, k.of, v)) == 1 {
			return "usb:" + v
		}
	}
	return "v4l2:" + c.Node
}

func having(all []camera.Attached, of func(camera.Attached) string, value string) []camera.Attached {
	var out []camera.Attached
	for _, c := range all {
		if of(c) == value {
			out = append(out, c)
		}
	}
	return out
}

// Find gives the one camera whose serial number, else USB path, else name is id.
func (r Roots) Find(id string) (camera.Attached, error) {
	all, err := r.List()
	if err != nil {
		return camera.Attached{}, err
	}
	for _, k := range keys {
		switch found := having(all, k.of, id); {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return camera.Attached{}, fmt.Errorf("usb:%s: %d cameras have this %s: %s; name the one that is meant by its path: %s",
				id, len(found), k.what, describe(found), paths(found))
		}
	}
	if len(all) == 0 {
		return camera.Attached{}, fmt.Errorf("usb:%s: no camera is attached: plug it in; dmesg says whether the kernel sees it: %w", id, fs.ErrNotExist)
	}
	return camera.Attached{}, fmt.Errorf("usb:%s: no camera has this serial number, USB path or name; attached: %s: %w", id, describe(all), fs.ErrNotExist)
}

func paths(found []camera.Attached) string {
	var out []string
	for _, c := range found {
		p := c.Path
		if len(having(found, func(c camera.Attached) string { return c.Path }, p)) > 1 {
			p = c.Interface
		}
		out = append(out, "usb:"+p)
	}
	slices.Sort(out)
	if len(slices.Compact(slices.Clone(out))) < len(out) {
		return "v4l2:" + found[0].Node + " …"
	}
	return strings.Join(out, " or ")
}

func describe(all []camera.Attached) string {
	var out []string
	for _, c := range all {
		s := fmt.Sprintf("%q at %s", c.Name, c.Node)
		if c.Serial != "" {
			s += ", serial " + c.Serial
		}
		if c.Path != "" {
			s += ", path " + c.Path
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}
