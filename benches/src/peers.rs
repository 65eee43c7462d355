//! Configuration of the proxies that are measured beside the gateway: one process, one worker, HTTP/2 on Unix
//! sockets on both sides, upstream connections kept, nothing logged.

use std::fs;
use std::path::Path;

use crate::BoxError;
use crate::cell::Missing;
use crate::process::{Cpus, Process, find};

/// A proxy from the distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// nginx, `grpc_pass`.
    Nginx,
    /// HAProxy, `proto h2`.
    Haproxy,
    /// nghttpx.
    Nghttpx,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Nghttpx];

    /// Name of the program and, on Debian, of its package but for nghttpx's (`nghttp2-proxy`).
    pub fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Nghttpx => "nghttpx",
        }
    }

    /// Starts it between two sockets, with its files in `folder`.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(
        self,
        folder: &Path,
        listen: &Path,
        upstream: &Path,
        cpus: Cpus,
    ) -> Result<Process, Missing> {
        let program = find(self.program())
            .ok_or_else(|| Missing::Skipped(format!("{} is not installed", self.program())))?;
        let config = folder.join(format!("{}.conf", self.program()));
        let folder = path(folder)?;
        let (listen_on, upstream, file) = (path(listen)?, path(upstream)?, path(&config)?);
        let log = format!("{folder}/error.log");
        let text = match self {
            Self::Nginx => nginx(folder, listen_on, upstream),
            Self::Haproxy => haproxy(listen_on, upstream),
            Self::Nghttpx => nghttpx(listen_on, upstream),
        };
        fs::write(&config, text)?;
        let args: &[&str] = match self {
            Self::Nginx => &["-c", file, "-p", folder, "-e", &log],
            Self::Haproxy => &["-db", "-q", "-f", file],
            Self::Nghttpx => &["--conf", file],
        };
        let mut process = Process::program(&program, args, cpus)?;
        process.listens_on(listen)?;
        Ok(process)
    }
}

fn path(path: &Path) -> Result<&str, BoxError> {
    path.to_str().ok_or_else(|| "the folder for temporary files is not UTF-8".into())
}

fn nginx(folder: &str, listen: &str, upstream: &str) -> String {
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  http2_max_concurrent_streams 1000; keepalive_requests 1000000000;
  upstream plugin {{ server unix:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen unix:{listen} http2; location / {{ grpc_pass grpc://plugin; }} }}
}}
"
    )
}

fn haproxy(listen: &str, upstream: &str) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend mesh
  bind unix@{listen} proto h2
  default_backend plugin
backend plugin
  http-reuse always
  server plugin unix@{upstream} proto h2
"
    )
}

fn nghttpx(listen: &str, upstream: &str) -> String {
    format!(
        "frontend=unix:{listen};no-tls
backend=unix:{upstream};;proto=h2
workers=1
single-process=yes
single-thread=yes
errorlog-file=/dev/null
accesslog-file=/dev/null
frontend-http2-max-concurrent-streams=1000
"
    )
}
