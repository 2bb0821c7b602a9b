//go:build browser

package status

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"heron/camera"
	"heron/internal/freeport"
)

// browser is a Chromium under chromedriver, in real time.
type browser struct {
	t       *testing.T
	session string // URL
}

func newBrowser(t *testing.T, width, height int) *browser {
	t.Helper()
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Skip("no chromedriver on this machine (apt-get install chromium chromium-driver)")
	}
	_, port, _ := net.SplitHostPort(freeport.Address(t))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, driver, "--port="+port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	b := &browser{t: t, session: "http://127.0.0.1:" + port + "/session"}
	eventually(t, "chromedriver answers", func() bool {
		r, err := http.Get("http://127.0.0.1:" + port + "/status")
		if err != nil {
			return false
		}
		r.Body.Close()
		return true
	})
	args := []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
		"--user-data-dir=" + t.TempDir(), fmt.Sprintf("--window-size=%d,%d", width, height)}
	options := map[string]any{"args": args}
	if width < 500 { // no window is so small: a phone
		options["mobileEmulation"] = map[string]any{"deviceMetrics": map[string]any{"width": width, "height": height, "pixelRatio": 2, "touch": true}}
	}
	v := b.call("POST", "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"goog:chromeOptions": options}}})
	b.session += "/" + v.(map[string]any)["sessionId"].(string)
	t.Cleanup(func() { b.call("DELETE", "", map[string]any{}) })
	return b
}

func (b *browser) call(method, path string, body any) any {
	b.t.Helper()
	j, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequest(method, b.session+path, bytes.NewReader(j))
	if err != nil {
		b.t.Fatal(err)
	}
	c := http.Client{Timeout: time.Minute}
	res, err := c.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	var a struct{ Value any }
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil || res.StatusCode != 200 {
		b.t.Fatalf("%s %s: %d %v %.600v", method, path, res.StatusCode, err, a.Value)
	}
	return a.Value
}

func (b *browser) run(script string) any {
	b.t.Helper()
	return b.call("POST", "/execute/sync", map[string]any{"script": script, "args": []any{}})
}

// click presses what a selector names, as a finger does: it must be in view and not covered.
func (b *browser) click(selector string) {
	b.t.Helper()
	e := b.call("POST", "/element", map[string]any{"using": "css selector", "value": selector}).(map[string]any)
	for _, id := range e {
		b.call("POST", "/element/"+id.(string)+"/click", map[string]any{})
	}
}

// shot keeps a picture of the page where HERON_SHOTS names a folder.
func (b *browser) shot(name string) {
	dir := os.Getenv("HERON_SHOTS")
	if dir == "" {
		return
	}
	png, err := base64.StdEncoding.DecodeString(b.call("GET", "/screenshot", map[string]any{}).(string))
	if err == nil {
		err = os.WriteFile(dir+"/"+name+".png", png, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// painter is an eye whose pictures can be seen.
type painter struct{ *eye }

func (p painter) Picture(ctx context.Context, name string, o PictureOptions) (Picture, error) {
	pic, err := p.eye.Picture(ctx, name, o)
	if err != nil || pic.Same {
		return pic, err
	}
	f := &camera.Frame{Width: 640, Height: 480, Stride: 1920, Pix: make([]byte, 1920*480)}
	for i := range f.Pix {
		f.Pix[i] = byte(90 + (i/3%640+i/1920+10*int(pic.Frame.Seq))%120)
	}
	if o.Draw {
		camera.Overlay{Label: "größer", Score: 0.912, Detail: fmt.Sprintf("onnx 3.1 ms, %s, frame %d", time.Now().Format("15:04:05.0"), pic.Frame.Seq)}.Draw(f)
	}
	pic.Caption = fmt.Sprintf("frame %d: größer 91.2 %%", pic.Frame.Seq)
	pic.JPEG, err = camera.EncodeJPEG(f, o.MaxWidth, 85)
	return pic, err
}

func (p painter) Card(width, height int, title string, lines ...string) ([]byte, error) {
	return camera.EncodeJPEG(camera.Card(width, height, title, lines...), 0, 85)
}

func TestBrowserShowsLiveViewAndFallsBack(t *testing.T) {
	e := newEye(100*time.Millisecond, 0)
	s := serveEye(t, e, func(s *Server) { s.provider, s.streams.provider = painter{e}, painter{e} })
	b := newBrowser(t, 1180, 900)
	url := "http://" + s.Addr() + "/"
	b.call("POST", "/url", map[string]any{"url": url})
	eventually(t, "the button is there and off", func() bool {
		return b.run(`const b = document.querySelector("button.live"); return !b.hidden && b.getAttribute("aria-pressed")`) == "false"
	})
	if s.streams.watching() != 0 || s.streams.frames.Load() != 0 {
		t.Error("the page looks live before it was asked to")
	}
	b.click("button.live")
	eventually(t, "it is live", func() bool {
		return b.run(`const b = document.querySelector("button.live"); return b.getAttribute("aria-pressed") + b.classList.contains("on")`) == "truetrue" && s.streams.frames.Load() > 10
	})
	caption := b.run(`return document.querySelector("figcaption").textContent`).(string)
	if !strings.HasPrefix(caption, "frame ") || !strings.Contains(caption, "größer 91.2 %") {
		t.Errorf("caption %q", caption)
	}
	eventually(t, "the picture is shown", func() bool {
		return b.run(`const i = document.querySelector("figure img"); return i.complete && i.naturalWidth === 640 && i.src.startsWith("blob:")`) == true
	})
	b.shot("live")
	e.change(func() { e.fail = fmt.Errorf("heron-vision is not running (replacing)") })
	eventually(t, "the card is told", func() bool {
		return strings.Contains(b.run(`return document.querySelector("figcaption").textContent`).(string), "not running")
	})
	b.shot("card")
	e.change(func() { e.fail = nil })
	eventually(t, "frames again", func() bool {
		return strings.HasPrefix(b.run(`return document.querySelector("figcaption").textContent`).(string), "frame ")
	})
	b.click("button.live")
	eventually(t, "it has ended", func() bool { return s.streams.watching() == 0 })

	for range 4 { // somebody else has all the places
		watch(t, s, "fps=0.1")
	}
	b.click("button.live")
	eventually(t, "it says why not, and still has a picture", func() bool {
		c := b.run(`return document.querySelector("figcaption").textContent`).(string)
		return strings.HasPrefix(c, "frame ") && strings.Contains(c, "no live view: 4 live views are open")
	})
	if b.run(`const b = document.querySelector("button.live"); return b.classList.contains("on") || b.textContent`) != "Live: waiting" {
		t.Error("the button claims that it is live")
	}
	b.shot("refused")
}

func TestBrowserEndsLiveViewInAHiddenTab(t *testing.T) {
	e := newEye(100*time.Millisecond, 0)
	s := serveEye(t, e, func(s *Server) { s.provider, s.streams.provider = painter{e}, painter{e} })
	b := newBrowser(t, 390, 844)
	b.call("POST", "/url", map[string]any{"url": "http://" + s.Addr() + "/#live=front"})
	eventually(t, "the address alone turns it on", func() bool { return s.streams.frames.Load() > 3 })
	if wide := b.run(`return document.documentElement.scrollWidth - innerWidth`).(float64); wide > 0 {
		t.Errorf("the page is %v px wider than a phone", wide)
	}
	b.shot("phone")
	b.run(`Object.defineProperty(document, "hidden", { configurable: true, value: true }); document.dispatchEvent(new Event("visibilitychange"))`)
	eventually(t, "nobody looks", func() bool { return s.streams.watching() == 0 })
	b.run(`delete document.hidden; document.dispatchEvent(new Event("visibilitychange"))`)
	eventually(t, "somebody looks again", func() bool { return s.streams.watching() == 1 })
}

func TestBrowserKeepsTheListOfEnginesAsItWasLeft(t *testing.T) {
	d := &device{picture: bottle}
	d.set(troubled(time.Now()))
	s := serve(t, d)
	b := newBrowser(t, 390, 844)
	b.call("POST", "/url", map[string]any{"url": "http://" + s.Addr() + "/"})
	renewed := func(since string) func() bool {
		return func() bool { return b.run(`return document.querySelector("time").textContent`) != since }
	}
	at := func() string { return b.run(`return document.querySelector("time").textContent`).(string) }
	open := func() bool { return b.run(`return document.querySelector("details.engines").open`).(bool) }
	if open() {
		t.Error("the list is open before anybody asked")
	}
	for _, want := range []bool{true, false} {
		b.run(`document.querySelector("details.engines").scrollIntoView()`)
		b.click("details.engines summary")
		since := at()
		d.set(troubled(time.Now().Add(time.Hour)))
		eventually(t, "the page is renewed", renewed(since))
		if open() != want {
			t.Errorf("open: %t after the page was renewed", open())
		}
		b.shot("engines")
		d.set(troubled(time.Now().Add(2 * time.Hour)))
	}
}
