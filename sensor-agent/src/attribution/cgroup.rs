//! The path of a control group → unit, container and pod. The forms are those of systemd, Docker, Podman, containerd, CRI-O, the kubelet,
//! LXC and nspawn, for either version of control groups.

use crate::printable::short;

/// Longest text of one kind that is shown; systemd's names have at most 255 bytes.
const MAX_TEXT: usize = 255;

/// Where a process belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    /// The outermost systemd unit that is no slice: what is inside it, the unit's own processes can name as they like.
    pub(super) unit: Option<String>,
    /// The container's id, or its name where it has no id.
    pub(super) container: Option<String>,
    /// What runs the container.
    pub(super) runtime: Option<&'static str>,
    /// The pod's uid.
    pub(super) pod: Option<String>,
}

/// The placement that `/proc/PID/cgroup` (cgroups(7)) tells: the unified hierarchy's line first, systemd's own of version 1 next.
pub(super) fn of_process(text: &str) -> Placement {
    let lines = || text.lines().filter_map(line);
    let unified = lines().find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| of_path(path));
    let systemd = lines().find(|(names, _)| *names == "name=systemd").map(|(_, path)| of_path(path));
    let mut placement = unified.unwrap_or_default();
    if let Some(systemd) = systemd {
        placement.unit = placement.unit.or(systemd.unit);
    }
    if placement.container.is_none()
        && let Some(contained) =
            lines().map(|(_, path)| of_path(path)).find(|other| other.container.is_some())
    {
        placement = Placement { unit: placement.unit, ..contained };
    }
    placement
}

/// `hierarchy:controllers:path`.
fn line(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')?.1.split_once(':')
}

/// The placement that one path tells.
pub(super) fn of_path(path: &str) -> Placement {
    let mut placement = Placement::default();
    // containerd's own driver writes `slice:prefix:id` as one component.
    for part in path.split(['/', ':']).filter(|part| !part.is_empty()) {
        if placement.unit.is_none() && is_unit(part) {
            placement.unit = Some(short(part, MAX_TEXT));
        }
        if placement.pod.is_none() {
            placement.pod = pod(part);
        }
        if let Some((runtime, id)) = container(part).or_else(|| bare(path, part)) {
            placement.container = Some(short(id, MAX_TEXT));
            placement.runtime =
                Some(if placement.pod.is_some() && runtime == UNKNOWN { "kubernetes" } else { runtime });
        }
    }
    placement
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"].iter().any(|kind| part.ends_with(kind))
}

/// A runtime that the path does not name.
const UNKNOWN: &str = "unknown";

/// What begins the name of a container's scope, and the runtime that names it so.
const SCOPES: [(&str, &str); 5] = [
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("nerdctl-", "containerd"),
];

/// A component that names a container and its runtime.
fn container(part: &str) -> Option<(&'static str, &str)> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let scope = SCOPES.iter().find_map(|(prefix, runtime)| Some((*runtime, name.strip_prefix(prefix)?)));
    if let Some((runtime, id)) = scope {
        return is_id(id).then_some((runtime, id));
    }
    let named = [("lxc.payload.", "lxc"), ("systemd-nspawn@", "nspawn")];
    named.iter().find_map(|(prefix, runtime)| {
        let name = name.strip_prefix(prefix)?;
        Some((*runtime, name.strip_suffix(".service").unwrap_or(name)))
    })
}

/// A component that is nothing but an id: the component before it says whose, if anything does.
fn bare<'p>(path: &'p str, part: &'p str) -> Option<(&'static str, &'p str)> {
    if !is_id(part) {
        return None;
    }
    let before = path.split(['/', ':']).take_while(|other| *other != part).last().unwrap_or_default();
    let runtime = match before {
        "docker" => "docker",
        "libpod_parent" | "libpod" => "podman",
        "cri-containerd" => "containerd",
        "crio" => "cri-o",
        _ => UNKNOWN,
    };
    Some((runtime, part))
}

/// Ids of containers are 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The pod's uid in `kubepods-burstable-pod<uid>.slice` (with underscores) or `pod<uid>`.
fn pod(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid =
        if name.starts_with("kubepods") { name.rsplit_once("-pod")?.1 } else { name.strip_prefix("pod")? };
    let uid = uid.replace('_', "-");
    let plain = uid.len() >= 32 && uid.len() <= 36 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    plain.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const POD: &str = "7e4c5d1f-0c4d-4a63-9d39-0f3f0d6f9b1e";

    /// unit, container, runtime, pod
    type Told<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    fn check(text: &str, (unit, container, runtime, pod): Told<'_>) {
        let text = text.replace("ID", ID).replace("POD_", &POD.replace('-', "_")).replace("POD", POD);
        let found = if text.starts_with('/') { of_path(&text) } else { of_process(&text) };
        let told = (found.unit.as_deref(), found.container.as_deref(), found.runtime, found.pod.as_deref());
        let expected = (unit, container.map(|id| if id == "ID" { ID } else { id }), runtime, pod);
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn units_are_the_outermost_that_are_no_slices() {
        check("/", (None, None, None, None));
        check("/system.slice/nginx.service", (Some("nginx.service"), None, None, None));
        check("/user.slice/user-0.slice/session-3.scope", (Some("session-3.scope"), None, None, None));
        check(
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
            (Some("user@1000.service"), None, None, None),
        );
        check("/system.slice/mine.service/nginx.service", (Some("mine.service"), None, None, None));
        check("0::/init.scope\n", (Some("init.scope"), None, None, None));
        check("9:name=systemd:/system.slice/a.service\n0::/\n", (Some("a.service"), None, None, None));
    }

    #[test]
    fn containers_of_every_runtime_are_known() {
        let unit = format!("docker-{ID}.scope");
        check("/system.slice/docker-ID.scope", (Some(&unit), Some("ID"), Some("docker"), None));
        check("/docker/ID", (None, Some("ID"), Some("docker"), None));
        check("4:memory:/docker/ID\n0::/\n", (None, Some("ID"), Some("docker"), None));
        let unit = format!("libpod-{ID}.scope");
        check("/machine.slice/libpod-ID.scope/container", (Some(&unit), Some("ID"), Some("podman"), None));
        check("/libpod_parent/ID", (None, Some("ID"), Some("podman"), None));
        check("/lxc.payload.web/system.slice/a.service", (Some("a.service"), Some("web"), Some("lxc"), None));
        let nspawn = Some("systemd-nspawn@web.service");
        check(
            "/machine.slice/systemd-nspawn@web.service/payload",
            (nspawn, Some("web"), Some("nspawn"), None),
        );
    }

    #[test]
    fn pods_are_known_by_either_driver() {
        let unit = format!("cri-containerd-{ID}.scope");
        check(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/cri-containerd-ID.scope",
            (Some(&unit), Some("ID"), Some("containerd"), Some(POD)),
        );
        let unit = format!("crio-{ID}.scope");
        check(
            "/kubepods.slice/kubepods-podPOD_.slice/crio-ID.scope",
            (Some(&unit), Some("ID"), Some("cri-o"), Some(POD)),
        );
        check("/kubepods/besteffort/podPOD/ID", (None, Some("ID"), Some("kubernetes"), Some(POD)));
        check(
            "/system.slice/containerd.service/kubepods-burstable-podPOD_.slice:cri-containerd:ID",
            (Some("containerd.service"), Some("ID"), Some("containerd"), Some(POD)),
        );
    }

    #[test]
    fn what_only_looks_alike_names_no_container() {
        check("/system.slice/docker-short.scope", (Some("docker-short.scope"), None, None, None));
        check("/libpod-conmon-ID/x", (None, None, None, None));
        check("/podX/kubepods-podY.slice", (None, None, None, None));
        check("not a line\n:::\n", (None, None, None, None));
    }

    #[test]
    fn hostile_names_are_escaped_and_cut() {
        let hostile = of_path("/\u{1b}[2J\u{202e}x.service");
        assert_eq!(hostile.unit.as_deref(), Some("\\u{1b}[2J\\u{202e}x.service"));
        let long = of_path(&format!("/{}.service", "a".repeat(9000)));
        assert_eq!(long.unit.map(|unit| unit.chars().count()), Some(MAX_TEXT + 1));
    }
}
