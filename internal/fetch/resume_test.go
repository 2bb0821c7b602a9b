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
