package desired

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"heron/internal/atomicfile"
	"heron/sync/message"
)

// Store keeps the newest document of each source in one small file. Its methods may be called from several goroutines.
type Store struct {
	path string

	mu       sync.Mutex
	kept     kept
	docs     map[string]*message.Desired // by source
	problems map[string]string           // of the last document of a source
	unkept   map[string][]byte           // documents that the disk could not keep; a broker sends them once a connection
	ignored  uint64
}

// Address is whose documents they are. Another group counts its revs anew, and what this one was asked there is nothing to it.
type Address struct {
	Group  string `json:"group"`
	Device string `json:"device"`
}

// kept is the file.
type kept struct {
	V     int                 `json:"v"`
	Of    *Address            `json:"of,omitempty"` // none: written before there was one; taken for the present one's
	Docs  map[string]keptDoc  `json:"docs"`
	Order int64               `json:"order"`
	Slots map[string]keptSlot `json:"slots"`
}

// keptDoc outlives its document: a deleted one must not come back by an old copy of it.
type keptDoc struct {
	Rev int64           `json:"rev"`
	Doc json.RawMessage `json:"doc,omitempty"` // none: deleted
}

// keptSlot knows a slot's wish by its words, and when it came.
type keptSlot struct {
	Wish  string `json:"wish"`
	Order int64  `json:"order"`
}

// Open reads path, which need not exist, for a device that is of. A file that cannot be read as what was written there is put aside as
// path.bad: the broker still has the documents. Documents for another group or device are forgotten with their revs. Where there is an
// error the Store can be used all the same.
func Open(path string, of Address) (*Store, error) {
	s := &Store{path: path, docs: map[string]*message.Desired{}, problems: map[string]string{}, unkept: map[string][]byte{}}
	s.kept = kept{V: 1, Of: &of, Docs: map[string]keptDoc{}, Slots: map[string]keptSlot{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the desired documents: %w", err)
	}
	if err := s.load(b); err != nil {
		// Above every order there was, unless the clock is wrong: orders are counted in changes, not in seconds.
		s.kept = kept{V: 1, Of: &of, Docs: map[string]keptDoc{}, Slots: map[string]keptSlot{}, Order: time.Now().Unix()}
		clear(s.docs)
		return s, errors.Join(fmt.Errorf("%s is damaged (%w); put aside, and the documents are taken anew from the broker", path, err), os.Rename(path, path+".bad"))
	}
	return s, s.move(of)
}

// move forgets what was for the topics of another group or device.
func (s *Store) move(of Address) error {
	was := s.kept.Of
	s.kept.Of = &of
	if was != nil && *was == of {
		return nil
	}
	if was != nil {
		s.change(Device, keptDoc{}, nil)
		if was.Group != of.Group {
			s.change(Group, keptDoc{}, nil)
		}
	}
	if err := s.save(); err != nil { // the next change says it again, or the next start
		return fmt.Errorf("keep whose desired documents these are: %w", err)
	}
	return nil
}

func (s *Store) load(b []byte) error {
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return err
	}
	if k.V != 1 || k.Docs == nil || k.Slots == nil {
		return fmt.Errorf("v is %d, or a part is missing", k.V)
	}
	for source, d := range k.Docs {
		if len(d.Doc) == 0 {
			continue
		}
		doc, err := message.ParseDesired(d.Doc)
		if err != nil {
			return err
		}
		s.docs[source] = &doc
	}
	s.kept = k
	return nil
}

// Take takes a document as it came from the broker; an empty one deletes its source's. It reports whether anything changed: a rev
// that does not rise is ignored. An error is about a document that cannot be read, or a disk that cannot keep it; either way what was
// known before stays, and Problem tells. What the disk could not keep is taken up by Again.
func (s *Store) Take(source string, payload []byte) (news bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(source, payload)
}

// Again takes once more what the disk could not keep.
func (s *Store) Again() (news bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for source, payload := range s.unkept {
		taken, failed := s.take(source, payload)
		news, err = news || taken, errors.Join(err, failed)
	}
	return news, err
}

func (s *Store) take(source string, payload []byte) (news bool, err error) {
	delete(s.unkept, source)
	old := s.kept.Docs[source]
	next := keptDoc{Rev: old.Rev}
	var doc *message.Desired
	if len(payload) > 0 {
		d, err := message.ParseDesired(payload)
		if err != nil {
			err = fmt.Errorf("desired of %s: %w", source, err)
			s.problems[source] = err.Error()
			return false, err
		}
		delete(s.problems, source) // of an older one
		if d.Rev <= old.Rev {
			s.ignored++
			return false, nil
		}
		next, doc = keptDoc{Rev: d.Rev, Doc: bytes.Clone(payload)}, &d
	} else if delete(s.problems, source); len(old.Doc) == 0 {
		return false, nil
	}
	was, before := s.kept, s.docs[source]
	s.change(source, next, doc)
	if err := s.save(); err != nil {
		s.kept = was
		s.set(source, before)
		err = fmt.Errorf("keep the desired document of %s: %w", source, err)
		s.problems[source], s.unkept[source] = err.Error(), bytes.Clone(payload)
		return false, err
	}
	return true, nil
}

func (s *Store) set(source string, doc *message.Desired) {
	if doc == nil {
		delete(s.docs, source)
		return
	}
	s.docs[source] = doc
}

// change makes a new content of the file; the old one is left as it is.
func (s *Store) change(source string, next keptDoc, doc *message.Desired) {
	s.set(source, doc)
	k := kept{V: 1, Of: s.kept.Of, Docs: map[string]keptDoc{source: next}, Order: s.kept.Order, Slots: map[string]keptSlot{}}
	for other, d := range s.kept.Docs {
		if other != source {
			k.Docs[other] = d
		}
	}
	for _, w := range s.resolve().Models {
		wish, _ := json.Marshal(w) // strings, numbers and times that were read from JSON
		slot := s.kept.Slots[w.Slot]
		if slot.Wish != string(wish) {
			k.Order++
			slot = keptSlot{Wish: string(wish), Order: k.Order}
		}
		k.Slots[w.Slot] = slot
	}
	s.kept = k
}

func (s *Store) save() error {
	b, err := json.Marshal(s.kept)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path, append(b, '\n'), 0o640)
}

func (s *Store) resolve() Resolved { return Resolve(s.docs[Group], s.docs[Device]) }

// Resolved is what is wanted now. The caller must not change what it points to.
func (s *Store) Resolved() Resolved {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resolve()
	for i, w := range r.Models {
		r.Models[i].Order = s.kept.Slots[w.Slot].Order
	}
	return r
}

// Rev is the newest rev that was taken from a source; 0: none ever.
func (s *Store) Rev(source string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.Docs[source].Rev
}

// Problem is what is wrong with the newest documents; empty: nothing.
func (s *Store) Problem() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.problems[Device]; p != "" {
		return p
	}
	return s.problems[Group]
}

// Ignored counts documents whose rev did not rise. The same document comes again with every connection.
func (s *Store) Ignored() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ignored
}
