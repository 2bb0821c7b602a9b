package v4l2

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"heron/camera"
)

// patience is how long the camera of a v4l2: source is awaited while another one has its node, before that one is taken.
const patience = time.Minute

// New serves usb: and v4l2: sources: it finds the node and lets next open it as v4l2:NODE.
//
// A usb: source is looked up at each opening. A v4l2: source is the camera that its node was at the first opening: when the node is
// gone later, or another camera's, the same one is looked for elsewhere.
func New(r Roots, next camera.Opener) camera.Opener {
	b := &binder{roots: r, next: next, first: map[string]*bound{}}
	return b.open
}

type binder struct {
	roots Roots
	next  camera.Opener
	mu    sync.Mutex
	first map[string]*bound // by camera and source
}

// bound is what a source was when it was opened last.
type bound struct {
	camera.Attached
	missed time.Time // since when it was not found
}

func (b *binder) open(ctx context.Context, o camera.Options) (camera.Device, error) {
	scheme, id, _ := strings.Cut(o.Source, ":")
	var found camera.Attached
	var err error
	switch scheme {
	case "usb":
		if id == "" {
			return nil, fmt.Errorf("source usb: names no camera: write usb:SERIAL, usb:PATH or usb:NAME; heron camera list shows them")
		}
		if found, err = b.roots.Find(id); err == nil {
			b.moved(o, found)
		}
	case "v4l2":
		found, err = b.remembered(o, id)
	default:
		return nil, camera.ErrNotMine
	}
	if err != nil {
		return nil, err
	}
	as := o
	as.Source = "v4l2:" + found.Node
	d, err := b.next(ctx, as)
	if err != nil {
		return nil, explain(found.Node, err)
	}
	b.remember(o, found)
	adjust(o, found.Node)
	return d, nil
}

// moved tells that a usb: source has another node than before.
func (b *binder) moved(o camera.Options, now camera.Attached) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if was := b.first[o.Name+" "+o.Source]; was != nil && was.Node != now.Node {
		o.Tell("%s is now %s, it was %s", o.Source, now.Node, was.Node)
	}
}

func (b *binder) remember(o camera.Options, c camera.Attached) {
	b.mu.Lock()
	b.first[o.Name+" "+o.Source] = &bound{Attached: c}
	b.mu.Unlock()
}

// remembered is the camera to open for a v4l2: source. Where sysfs does not know the path, the path is all there is to go by.
func (b *binder) remembered(o camera.Options, path string) (camera.Attached, error) {
	all, err := b.roots.List()
	if err != nil {
		all = nil // the path may do without
	}
	here, known := at(path, all)
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.first[o.Name+" "+o.Source]
	if was == nil || was.Name == "" {
		return here, nil
	}
	if known && same(was.Attached, here, all) {
		was.missed = time.Time{}
		return here, nil
	}
	if c, ok := elsewhere(was.Attached, all); ok {
		o.Tell("the camera of %s (%s) is now %s", path, describe([]camera.Attached{was.Attached}), c.Node)
		return c, nil
	}
	if was.missed.IsZero() {
		was.missed = time.Now()
	}
	switch _, err := os.Stat(path); {
	case !known && err == nil:
		return here, nil
	case !known:
		return here, fmt.Errorf("v4l2: %s is gone, and its camera (%s) is nowhere else: plug it in again; heron camera list shows what is attached: %w",
			path, describe([]camera.Attached{was.Attached}), fs.ErrNotExist)
	case time.Since(was.missed) < patience:
		return here, fmt.Errorf("v4l2: %s is another camera now (%s), its own (%s) is not attached; the other one is taken %v after it went",
			path, describe([]camera.Attached{here}), describe([]camera.Attached{was.Attached}), patience)
	}
	o.Tell("%s is another camera now (%s) and has taken the place of %s", path, describe([]camera.Attached{here}), describe([]camera.Attached{was.Attached}))
	return here, nil
}

// at finds the camera whose node path is, through links such as those of /dev/v4l/by-id.
func at(path string, all []camera.Attached) (camera.Attached, bool) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	for _, c := range all {
		if c.Node == real || c.Node == path {
			c.Node = path
			return c, err == nil
		}
	}
	return camera.Attached{Node: path}, false
}

// same says whether a and b are one camera: by serial number, and by place where that does not tell cameras apart.
func same(a, b camera.Attached, all []camera.Attached) bool {
	if a.Serial != b.Serial || a.Name != b.Name {
		return false
	}
	unique := a.Serial != "" && len(having(all, keys[0].of, a.Serial)) == 1
	return unique || a.Interface == b.Interface
}

// elsewhere looks for the camera c at another node; one without serial number that was plugged in elsewhere is known by its name
// if no other has it.
func elsewhere(c camera.Attached, all []camera.Attached) (camera.Attached, bool) {
	for _, other := range all {
		if same(c, other, all) {
			return other, true
		}
	}
	if named := having(all, keys[3].of, c.Name); c.Serial == "" && len(named) == 1 && named[0].Serial == "" {
		return named[0], true
	}
	return camera.Attached{}, false
}
