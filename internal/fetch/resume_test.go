package fetch

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestCutTransfersAreResumed(t *testing.T) {
	o := &object{data: random(2 << 20), etag: `"1"`}
	o.cutAt(10, 150_000)
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, o.data, url)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
	s := c.Stats()
	if s.Received != 2<<20 || s.Resumed != 10 || s.Restarted != 0 || s.Retries != 10 {
		t.Errorf("%+v", s)
	}
	for i, q := range o.requests()[1:] {
		if q != fmt.Sprintf("bytes=%d-", (i+1)*150_000) {
			t.Errorf("request %d asks for %s", i+1, q)
		}
	}
}

func TestCancelledTransferIsTakenUpByTheNextCall(t *testing.T) {
	o := &object{data: random(3 << 20), etag: `"1"`}
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, o.data, url)
	ctx, cancel := context.WithCancelCause(limit(t))
	why := errors.New("the window is over")
	r.Progress = func(done, _ int64) {
		if done > 2<<20 {
			cancel(why)
		}
	}
	if err := c.File(ctx, r); !errors.Is(err, why) {
		t.Fatalf("got %v", err)
	}
	only(t, r, "model.part", "model.part.journal")
	r.Progress = nil
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, o.data)
	if s := c.Stats(); s.Received > 3<<20+blockSize || s.Resumed != 1 {
		t.Errorf("%+v", s)
	}
}

func TestDiscardAndOtherFilesOfThatName(t *testing.T) {
	first, second := random(1<<20), random(1<<20 + 1)[:1<<20]
	o := &object{data: first, etag: `"1"`}
	url := serve(t, o)
	c := client(t, nil, url)
	r := want(t, first, url)
	half := func() {
		t.Helper()
		ctx, cancel := context.WithCancel(limit(t))
		defer cancel()
		stopped := r
		stopped.Progress = func(done, _ int64) {
			if done > 1<<19 {
				cancel()
			}
		}
		if err := c.File(ctx, stopped); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		only(t, r, "model.part", "model.part.journal")
	}
	half()
	if err := errors.Join(Discard(r.Path), Discard(r.Path)); err != nil {
		t.Error(err)
	}
	only(t, r)
	half()
	o.set(second, `"2"`) // superseded: the same name is to be another file
	r.SHA256 = sum(second)
	if err := c.File(limit(t), r); err != nil {
		t.Fatal(err)
	}
	arrived(t, r, second)
	if q := o.requests(); q[len(q)-1] != "" {
		t.Errorf("asked for %q of another file", q)
	}
}
