//! An application with users who log in: Python's own server, a form, sessions in cookies, and orders that belong to somebody.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;

use crate::http;
use crate::lab::Host;
use crate::process::{Process, wait_until};

/// Port of the application, on every address of its host.
pub const PORT: u16 = 8080;

/// User `u1` has the password `right1`, and so on.
const PROGRAM: &str = r#"
import http.server, secrets, socketserver, sys, urllib.parse
sessions = {}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def session(self):
        pairs = [pair.strip().split('=', 1) for pair in self.headers.get('Cookie', '').split(';') if '=' in pair]
        return sessions.get(dict(pairs).get('session'))
    def say(self, status, text, headers=()):
        data = text.encode()
        self.send_response(status)
        self.send_header('Content-Type', 'text/html')
        self.send_header('Content-Length', str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get('Content-Length', 0))).decode())
        user, password = form.get('user', [''])[0], form.get('password', [''])[0]
        if user.startswith('u') and password == 'right' + user[1:]:
            key = secrets.token_hex(16)
            sessions[key] = user
            cookie = 'session=' + key + '; Secure; HttpOnly; SameSite=Lax'
            self.say(302, '', [('Location', '/home'), ('Set-Cookie', cookie)])
        else:
            self.say(200, '<p>Invalid user name or wrong password</p><form><input type="password" name="password"></form>')
    def do_GET(self):
        user = self.session()
        if self.path == '/home':
            return self.say(200, 'welcome') if user else self.say(302, '', [('Location', '/login')])
        if self.path.startswith('/orders/'):
            mine = user and int(self.path.rsplit('/', 1)[1]) % 100 == int(user[1:])
            return self.say(200, 'an order') if mine else self.say(403, 'no')
        if self.path == '/large':
            return self.say(200, 'a line of a large page\n' * 20000)
        self.say(404 if self.path.startswith('/missing') else 200, 'a page')
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
Server(('', int(sys.argv[1])), Handler).serve_forever()
"#;

/// A running application.
#[derive(Debug)]
pub struct Application {
    _process: Process,
}

impl Application {
    /// Starts it on `host`, with its program in `folder`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(host: &Host, folder: &Path) -> Result<Self> {
        let file = folder.join("application.py");
        fs::write(&file, PROGRAM)?;
        let mut command = host.command(Path::new("python3"));
        command.arg(file).arg(PORT.to_string()).stdin(Stdio::null());
        let process = Process::start(&mut command)?;
        let here = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), PORT);
        let connect =
            || host.enter(|| Ok(TcpStream::connect_timeout(&here, Duration::from_secs(1))?)).is_ok();
        wait_until("the application listens", Duration::from_secs(20), connect)?;
        Ok(Self { _process: process })
    }
}

/// The login of a user.
#[must_use]
pub fn login(user: &str, password: &str) -> Vec<u8> {
    http::post("/login", "application/x-www-form-urlencoded", &format!("user={user}&password={password}"))
}
