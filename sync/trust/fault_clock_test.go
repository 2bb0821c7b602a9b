package trust

import (
	"testing"
	"time"
)

func TestFault_U13_Clock1970(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.timestamp.Signed.Expires = day0.Add(3 * day)
	s.publish("timestamp")
	s.refreshed(dir)
	// The device was on for five more days: the floor is what it last saw, and the mirror still serves the old.
	s.now = day0.Add(5 * day)
	s.timestamp.Signed.Expires = day0.Add(8 * day)
	s.publish("timestamp")
	s.refreshed(dir)
	s.timestamp.Signed.Expires = day0.Add(3 * day)
	s.publish("timestamp")
	s.now = time.Unix(0, 0)
	c := s.client(dir)
	refuses(t, c, ErrExpired)
	if st := c.State(); !st.Now.Equal(day0.Add(5 * day)) {
		t.Errorf("the reference time is %s", st.Now)
	}
	// A device that has never seen anything knows when its program was built.
	fresh, err := Open(Config{Dir: t.TempDir(), Root: s.first, MetadataURL: s.url + "/metadata", Built: day0.Add(4 * day), Now: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, fresh, ErrExpired)
	// And with good metadata a clock in 1970 does no harm.
	s.timestamp.Signed.Expires = day0.Add(9 * day)
	s.timestamp.Signed.UnrecognizedFields = map[string]any{IssuedField: day0.Add(6 * day).Format(time.RFC3339)}
	s.publish("timestamp")
	if c = s.refreshed(dir); !c.State().Floor.Equal(day0.Add(6 * day)) {
		t.Errorf("floor %s: the signed time was not taken", c.State().Floor)
	}
}

// A clock that was once in the future, or a stolen timestamp key, must not lock the device out for good.
func TestFault_U13_ClockInTheFuture(t *testing.T) {
	s, dir := newSim(t), t.TempDir()
	s.refreshed(dir)
	s.now = day0.Add(80 * 365 * day)
	refuses(t, s.client(dir), ErrExpired)
	s.now = day0
	s.refreshed(dir)
	s.timestamp.Signed.Expires = day0.Add(9000 * day)
	s.timestamp.Signed.UnrecognizedFields = map[string]any{IssuedField: day0.Add(8000 * day).Format(time.RFC3339)}
	s.publish("timestamp")
	c := s.refreshed(dir)
	if f := c.State().Floor; f.After(day0.Add(day)) {
		t.Errorf("the floor went to %s, past the expiry of root", f)
	}
	s.refreshed(dir)
}
