//! A real nginx as the application.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::lab::Host;
use crate::process::{Process, wait_until};

const PROGRAM: &str = "/usr/sbin/nginx";

/// A running nginx that answers 200 to everything.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
}

impl Nginx {
    /// Starts nginx on `host`, port 80 of every address, with its files in `folder`.
    ///
    /// # Errors
    /// If nginx is not installed or does not listen within 10 s.
    pub fn start(host: &Host, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("html"))?;
        fs::write(folder.join("html/index.html"), "hello from the application\n")?;
        fs::write(folder.join("html/large.bin"), vec![b'x'; 10 * 1024])?;
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, configuration_text(folder))?;
        let mut command = host.command(Path::new(PROGRAM));
        command.arg("-c").arg(&configuration).arg("-p").arg(folder).args(["-g", "daemon off;"]);
        let process = Process::start(&mut command).context("is nginx installed (package nginx-light)?")?;
        let listening = || {
            let here = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 80);
            host.enter(|| Ok(TcpStream::connect_timeout(&here, Duration::from_secs(1))?)).is_ok()
        };
        wait_until("nginx listens", Duration::from_secs(10), listening)?;
        Ok(Self { process })
    }

    /// Process id of the master.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends nginx with its workers.
    pub fn stop(mut self) {
        // If it is gone already, there is nothing to stop.
        let _ = self.process.signal(Signal::SIGTERM);
        let _ = self.process.wait(Duration::from_secs(5));
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers along only if it is asked to end, not if it is killed.
        let _ = self.process.signal(Signal::SIGTERM);
        let _ = self.process.wait(Duration::from_secs(5));
    }
}

fn configuration_text(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1;\n\
         pid {folder}/nginx.pid;\n\
         error_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
           access_log off;\n\
           keepalive_requests 1000000;\n\
           client_body_temp_path {folder}/body;\n\
           proxy_temp_path {folder}/proxy;\n\
           fastcgi_temp_path {folder}/fastcgi;\n\
           uwsgi_temp_path {folder}/uwsgi;\n\
           scgi_temp_path {folder}/scgi;\n\
           server {{\n\
             listen 80;\n\
             listen [::]:80;\n\
             root {folder}/html;\n\
             location = /index.html {{ }}\n\
             location = /large.bin {{ }}\n\
             location = /huge.bin {{ }}\n\
             location / {{ return 200 \"ok\\n\"; }}\n\
           }}\n\
         }}\n"
    )
}
