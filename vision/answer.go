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
	if seq, at, ok := c.source.Newest(); ok && m.Have == seq && m.HaveAt.Equal(at) {
		h.Frame, h.At, h.AgeMS, h.Same = seq, at.UTC(), ms(max(0, time.Since(at))), true
		return h, nil, nil
	}
	var f camera.Frame
	if !c.source.Snapshot(&f) {
		return h, nil, errors.New("no frame yet")
	}
	width, height := f.Width, f.Height
	if m.Draw || m.Age {
		if h.Last, err = c.draw(ctx, m, &f); err != nil {
			return h, nil, err
		}
	}
	if jpeg, err = s.d.Encode(&f, m.MaxWidth, snapshotQuality); err != nil {
		return h, nil, err
	}
	if len(jpeg) > maxPicture-maxJSON {
		return h, nil, fmt.Errorf("the picture has %d bytes, more than %d; ask for a smaller width", len(jpeg), maxPicture-maxJSON)
	}
	h.Frame, h.At, h.AgeMS, h.Width, h.Height = f.Seq, f.At.UTC(), ms(max(0, time.Since(f.At))), width, height
	if m.MaxWidth > 0 && width > m.MaxWidth {
		h.Width, h.Height = m.MaxWidth, max(1, height*m.MaxWidth/width)
	}
	if !m.Draw && !m.Age {
		h.Last = c.resultOf(ctx, f.Seq, snapshotWait)
	}
	return h, jpeg, nil
}

// drawWait is for the result of a frame into which it is to be drawn: a slow model's pictures come late rather than without.
const drawWait = 1200 * time.Millisecond

// draw writes into f, made as small as it is wanted, what was asked for. The result is that of f itself or none.
func (c *cam) draw(ctx context.Context, m snapshot, f *camera.Frame) (*Observation, error) {
	var o *Observation
	var over camera.Overlay
	if m.Draw {
		o = c.resultOf(ctx, f.Seq, drawWait)
		over = overlay(o, f)
	}
	if age := time.Since(f.At); m.Age && age > StaleAfter {
		over.Age = age
	}
	if !m.Draw && over.Age == 0 {
		return nil, nil
	}
	if err := camera.Shrink(f, m.MaxWidth); err != nil {
		return nil, err
	}
	over.Draw(f)
	return o, nil
}

// overlay is what people read about frame f, which became o; nil: nothing.
func overlay(o *Observation, f *camera.Frame) camera.Overlay {
	when := fmt.Sprintf("%s, frame %d", f.At.Local().Format("15:04:05.0"), f.Seq)
	if o == nil {
		return camera.Overlay{Note: "not classified", Detail: when}
	}
	over := camera.Overlay{Facts: o.Facts, Detail: fmt.Sprintf("%s %.1f ms, %s", o.Engine, o.LatMS, when)}
	switch {
	case len(o.Top) > 0:
		over.Label, over.Score = o.Top[0].Label, o.Top[0].Score
	case o.Error != "":
		over.Note, over.Detail = "inference failed: "+o.Error, when
	default:
		over.Note, over.Detail = "not classified", when
	}
	return over
}

// resultOf is what frame seq itself became, waited for a moment while it may be under way; nil when it became nothing, or a newer one has.
func (c *cam) resultOf(ctx context.Context, seq uint64, wait time.Duration) *Observation {
	for end := time.Now().Add(wait); ; {
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
	s.infer(ctx, sl, &f, o)
	return o, nil
}
