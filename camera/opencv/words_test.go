package opencv

import "testing"

func TestRefused(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"method SETUP failed: 453 Not Enough Bandwidth\n":     "the server answers 453 Not Enough Bandwidth to SETUP",
		"method PLAY failed: 454\n":                           "the server answers 454 to PLAY",
		"method SETUP failed: 461 Unsup\x1b[31mported\n":      "the server answers 461 Unsup to SETUP",
		"method DESCRIBE failed: 401 Unauthorized\n":          "the server answers 401 Unauthorized to DESCRIBE: look at user name and password",
		"method DESCRIBE failed: ok\n":                        "",
		"Connection to tcp://u:p@10.0.0.7:554?x=1 failed\n":   "",
		"method GET_PARAMETER failed: 501 Not Implemented\nx": "the server answers 501 Not Implemented to GET_PARAMETER",
		"": "",
	} {
		if got := refused(said); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}
