//! Real servers that log what they read, one JSON object a request: nginx over HTTP/1 and HTTP/2, nghttpx
//! over HTTP/2 by Upgrade, Python's and Node's own. What they say is
//! the truth that the sensor is held against.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::Host;
use crate::process::{Process, wait_until};

/// A server and its log.
#[derive(Debug)]
pub struct Logging {
    process: Process,
    log: PathBuf,
    /// Its port, on every address of its host.
    pub port: u16,
}

/// A request as its server logged it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Logged {
    /// Client's port.
    pub port: u16,
    /// Method.
    pub method: String,
    /// Target.
    pub target: String,
    /// User-Agent header.
    pub agent: String,
    /// Status code of the answer.
    pub status: u16,
}

/// A page for browsers: pictures, styles and scripts, and requests of every kind by a script that says in the title when they are over.
const PAGE: &str = r#"<!doctype html><html><head><title>busy</title><link rel=stylesheet href='/browser/a.css?x=1'></head><body>
<img src='/browser/b.png'><script src='/browser/c.js'></script><form></form><script>
const methods = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD'];
const ask = n => fetch('/browser/fetch/' + n + '?q=a b"<é>', {method: methods[n % 6],
  headers: {'X-Number': String(n)}, body: n % 6 in {1: 0, 2: 0, 4: 0} ? JSON.stringify({n, text: 'x'.repeat(n * 40)}) : undefined});
const form = new FormData();
form.append('file', new Blob(['y'.repeat(30000)]), 'a.txt');
Promise.all([...Array(36).keys()].map(n => ask(n).then(answer => answer.text())))
  .then(() => fetch('/browser/form', {method: 'POST', body: form}))
  .then(() => fetch('/missing/form', {method: 'POST', body: new URLSearchParams({a: '1', b: 'two words'})}))
  .then(() => { document.title = 'over'; });
</script></body></html>"#;

/// Python's own server: it answers anything with what it was sent.
const PYTHON: &str = r#"
import http.server, json, socketserver, sys
log = open(sys.argv[2], 'a', buffering=1)
page = open(sys.argv[3], 'rb').read()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def body(self):
        if 'chunked' in self.headers.get('Transfer-Encoding', ''):
            data = b''
            while True:
                size = int(self.rfile.readline().split(b';')[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return data
        return self.rfile.read(int(self.headers.get('Content-Length', 0)))
    def answer(self):
        data = self.body()
        status = 404 if self.path.startswith('/missing') else 200
        log.write(json.dumps({'port': self.client_address[1], 'method': self.command, 'target': self.path,
                              'agent': self.headers.get('User-Agent', ''), 'status': status}) + '\n')
        is_page = self.path == '/browser'
        data = page if is_page else data
        self.send_response(status)
        self.send_header('Content-Type', 'text/html' if is_page else 'text/plain')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)
    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = answer
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
Server(('', int(sys.argv[1])), Handler).serve_forever()
"#;

/// Node's own server: answers are chunked.
const NODE: &str = r#"
const fs = require('fs');
const log = fs.openSync(process.argv[3], 'a');
const page = fs.readFileSync(process.argv[4]);
require('http').createServer((request, response) => {
  let size = 0;
  request.on('data', data => { size += data.length; });
  request.on('end', () => {
    const status = request.url.startsWith('/missing') ? 404 : 200;
    fs.writeSync(log, JSON.stringify({port: request.socket.remotePort, method: request.method, target: request.url,
      agent: request.headers['user-agent'] || '', status}) + '\n');
    if (request.url === '/browser') { response.writeHead(status, {'Content-Type': 'text/html'}); response.end(page); return; }
    response.writeHead(status, {'Content-Type': 'application/json'});
    response.write('{"size": ');
    response.end(size + '}');
  });
}).listen(Number(process.argv[2]), '::');
"#;

impl Logging {
    /// Python's server.
    ///
    /// # Errors
    /// If it does not start.
    pub fn python(host: &Host, folder: &Path, port: u16) -> Result<Self> {
        Self::script(host, folder, port, Path::new("python3"), ("server.py", PYTHON))
    }

    /// Node's server.
    ///
    /// # Errors
    /// If it does not start.
    pub fn node(host: &Host, folder: &Path, port: u16) -> Result<Self> {
        Self::script(host, folder, port, Path::new("node"), ("server.js", NODE))
    }

    fn script(host: &Host, folder: &Path, port: u16, program: &Path, script: (&str, &str)) -> Result<Self> {
        let (file, log) = (folder.join(script.0), folder.join(format!("{port}.log")));
        let page = folder.join("page.html");
        fs::write(&file, script.1)?;
        fs::write(&page, PAGE)?;
        let mut command = host.command(program);
        command.arg(file).arg(port.to_string()).arg(&log).arg(page).stdin(Stdio::null());
        Self::listening(host, Process::start(&mut command)?, log, port)
    }

    /// nginx; `http2` says that it speaks HTTP/2 in clear text.
    ///
    /// # Errors
    /// If it does not start.
    pub fn nginx(host: &Host, folder: &Path, port: u16, http2: bool) -> Result<Self> {
        let folder = folder.join(format!("nginx-{port}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("page.html"), PAGE)?;
        let (configuration, log) = (folder.join("nginx.conf"), folder.join("access.log"));
        fs::write(&configuration, nginx_configuration(&folder, port, http2))?;
        let mut command = host.command(Path::new("/usr/sbin/nginx"));
        command.arg("-c").arg(&configuration).arg("-p").arg(&folder).args(["-g", "daemon off;"]);
        Self::listening(host, Process::start(&mut command)?, log, port)
    }

    /// nghttpx, which takes HTTP/2 after an Upgrade from HTTP/1 (RFC 7540 section 3.2), in front of a server at `behind` on the same host.
    ///
    /// # Errors
    /// If it does not start.
    pub fn nghttpx(host: &Host, folder: &Path, port: u16, behind: u16) -> Result<Self> {
        const LINE: &str = r#"{"port": $remote_port, "method": "$method", "target": "$path", "agent": "$http_user_agent", "status": $status}"#;
        let folder = folder.join(format!("nghttpx-{port}"));
        fs::create_dir_all(&folder)?;
        let (log, errors) = (folder.join("access.log"), folder.join("error.log"));
        let configuration = folder.join("nghttpx.conf");
        fs::write(&configuration, "")?;
        let mut command = host.command(Path::new("/usr/sbin/nghttpx"));
        command.arg(format!("--conf={}", configuration.display()));
        command.args([format!("--frontend=*,{port};no-tls"), format!("--backend=127.0.0.1,{behind}")]);
        command.args([format!("--accesslog-file={}", log.display()), format!("--accesslog-format={LINE}")]);
        command.arg(format!("--errorlog-file={}", errors.display())).arg("--workers=1").stdin(Stdio::null());
        Self::listening(host, Process::start(&mut command)?, log, port)
    }

    fn listening(host: &Host, process: Process, log: PathBuf, port: u16) -> Result<Self> {
        let here = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
        let connect =
            || host.enter(|| Ok(TcpStream::connect_timeout(&here, Duration::from_secs(1))?)).is_ok();
        wait_until("a server listens", Duration::from_secs(20), connect)?;
        Ok(Self { process, log, port })
    }

    /// What was logged so far, in order of ports and requests.
    ///
    /// # Errors
    /// If the log is none.
    pub fn logged(&self) -> Result<Vec<Logged>> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let value: Value = serde_json::from_str(line).with_context(|| format!("no log line: {line}"))?;
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            let number = |key: &str| {
                let number = value[key].as_u64().or_else(|| value[key].as_str()?.parse().ok());
                u16::try_from(number.unwrap_or(0)).unwrap_or(0)
            };
            let (method, target, agent) = (text("method"), text("target"), text("agent"));
            Ok(Logged { port: number("port"), method, target, agent, status: number("status") })
        });
        lines.collect()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        // nginx's master takes its workers along only if it is asked to end.
        let _ = self.process.signal(Signal::SIGTERM);
        let _ = self.process.wait(Duration::from_secs(5));
    }
}

fn nginx_configuration(folder: &Path, port: u16, http2: bool) -> String {
    let (folder, http2) = (folder.display(), if http2 { " http2" } else { "" });
    format!(
        "worker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           log_format sensor escape=json '{{\"port\": $remote_port, \"method\": \"$request_method\", \"target\": \"$request_uri\", \
             \"agent\": \"$http_user_agent\", \"status\": $status}}';\n\
           access_log {folder}/access.log sensor;\n\
           keepalive_requests 1000000;\n\
           client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
           uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
           server {{\n\
             listen {port}{http2};\n\
             listen [::]:{port}{http2};\n\
             location = /browser {{ default_type text/html; alias {folder}/page.html; }}\n\
             location / {{ return 200 \"ok\\n\"; }}\n\
             location /missing {{ return 404; }}\n\
           }}\n\
         }}\n"
    )
}
