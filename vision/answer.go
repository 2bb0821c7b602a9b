package vision

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"heron/camera"
)

// snapshot answers with the newest frame that was looked at.
func (s *server) snapshot(ctx context.Context, m snapshot) {
	h, jpeg, err := s.picture(ctx, m)
	if err != nil {
		h.Error = cleanText(err.Error())
	}
	h.ID = m.ID
	_ = s.w.sendPicture(h, jpeg) // the reader sees a broken connection
}

func (s *server) picture(ctx context.Context, m snapshot) (h pictureHeader, jpeg []byte, err error) {
	c := s.cameras[m.Camera]
	if c == nil || c.source == nil {
		return h, nil, errors.New("the camera cannot be opened")
	}
	var f camera.Frame
	if !c.source.Snapshot(&f) {
		return h, nil, errors.New("no frame yet")
	}
	if jpeg, err = s.d.Encode(&f, m.MaxWidth, snapshotQuality); err != nil {
		return h, nil, err
	}
	if len(jpeg) > maxPicture-maxJSON {
		return h, nil, fmt.Errorf("the picture has %d bytes, more than %d; ask for a smaller width", len(jpeg), maxPicture-maxJSON)
	}
	h.At, h.Width, h.Height = f.At.UTC(), f.Width, f.Height
	if m.MaxWidth > 0 && f.Width > m.MaxWidth {
		h.Width, h.Height = m.MaxWidth, max(1, f.Height*m.MaxWidth/f.Width)
	}
	h.Last = c.resultOf(ctx, f.Seq)
	return h, jpeg, nil
}

// resultOf is what frame seq itself became, waited for a moment while it may be under way; nil when it became nothing, or a newer one has.
func (c *cam) resultOf(ctx context.Context, seq uint64) *Observation {
	for end := time.Now().Add(snapshotWait); ; {
		o := c.last.Load()
		switch {
		case o != nil && o.Frame == seq:
			return o
		case o != nil && o.Frame > seq, c.slot == nil, c.slot.model.Load() == nil, time.Now().After(end):
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// classify answers with what a picture file became, by the same way as a frame.
func (s *server) classify(ctx context.Context, m classify) {
	a := classified{ID: m.ID}
	o, err := s.classifyFile(ctx, m)
	if err != nil {
		a.Error = cleanText(err.Error())
	} else {
		a.Observation = o
	}
	s.say(kindClassified, a)
}

func (s *server) classifyFile(ctx context.Context, m classify) (*Observation, error) {
	sl := s.slots[m.Slot]
	if sl == nil || sl.model.Load() == nil {
		return nil, fmt.Errorf("no model is loaded in slot %q", m.Slot)
	}
	f := camera.Frame{Seq: m.ID}
	if err := s.d.Picture(m.Path, &f); err != nil {
		return nil, err
	}
	f.At, f.Name = time.Now(), filepath.Base(m.Path)
	o := &Observation{Slot: m.Slot, Frame: f.Seq}
	var q camera.Quality
	o.Facts = q.Assess(&f, false)
	s.infer(ctx, sl, sl.model.Load(), &f, o)
	return o, nil
}
