//! What the names of parameters, cookies and paths say about their values.

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The name of a user.
    User,
    /// A password that is to be checked.
    Password,
    /// A password that is to be set.
    NewPassword,
    /// A token against forged requests.
    AntiForgery,
    /// An object's identifier.
    Id,
    /// Anything else.
    Other,
}

/// Longest name that is looked at, without separators.
const MAX_NAME: usize = 40;

const USERS: &[&[u8]] = &[
    b"user",
    b"username",
    b"login",
    b"loginname",
    b"email",
    b"mail",
    b"emailaddress",
    b"account",
    b"accountname",
    b"userid",
    b"uname",
    b"usr",
    b"log",
    b"jusername",
    b"identifier",
    b"phone",
    b"mobile",
    b"member",
    b"memberid",
    b"customerid",
    b"benutzer",
    b"benutzername",
    b"nick",
    b"nickname",
    b"handle",
    b"userlogin",
    b"useremail",
    b"loginid",
    b"loginemail",
    b"utilisateur",
    b"usuario",
];
const PASSWORDS: &[&[u8]] = &[
    b"password",
    b"passwd",
    b"passwort",
    b"pass",
    b"pwd",
    b"pw",
    b"userpassword",
    b"loginpassword",
    b"userpass",
    b"jpassword",
    b"passphrase",
    b"passcode",
    b"kennwort",
    b"motdepasse",
    b"contrasena",
    b"loginpass",
    b"loginpwd",
    b"userpwd",
];
const ANTI_FORGERY: &[&[u8]] = &[
    b"csrf",
    b"xsrf",
    b"authenticitytoken",
    b"requestverificationtoken",
    b"wpnonce",
    b"formkey",
    b"antiforgery",
    b"formtoken",
    b"synchronizertoken",
];
/// Names that end like identifiers and count pages, or name sessions.
const NOT_IDS: &[&[u8]] = &[
    b"pageid",
    b"sid",
    b"sessionid",
    b"phpsessid",
    b"jsessionid",
    b"sessid",
    b"clientid",
    b"gclid",
    b"fbclid",
];
const IDS: &[&[u8]] = &[
    b"id",
    b"uid",
    b"user",
    b"account",
    b"order",
    b"invoice",
    b"doc",
    b"document",
    b"customer",
    b"ticket",
    b"record",
    b"profile",
];

/// What `name` is for; of a path of names (`login.user`, `login[user]`) the last one counts.
pub(super) fn role(name: &[u8]) -> Role {
    let mut buffer = [0; MAX_NAME];
    let Some(word) = last_word(name, &mut buffer) else { return Role::Other };
    if ANTI_FORGERY.iter().any(|part| memchr::memmem::find(word, part).is_some()) || name == b"_token" {
        return Role::AntiForgery;
    }
    if USERS.contains(&word) {
        return Role::User;
    }
    if PASSWORDS.contains(&word) {
        return Role::Password;
    }
    let sets = [&b"new"[..], b"old", b"confirm", b"repeat", b"again", b"retype", b"current", b"verify", b"2"];
    let about = |part: &[u8]| memchr::memmem::find(word, part).is_some();
    if about(b"pass") && sets.iter().any(|part| about(part)) {
        return Role::NewPassword;
    }
    let id = IDS.contains(&word) || word.ends_with(b"id") && !NOT_IDS.contains(&word);
    if id { Role::Id } else { Role::Other }
}

/// The last of a path of names in lower case, without separators.
fn last_word<'b>(name: &[u8], buffer: &'b mut [u8; MAX_NAME]) -> Option<&'b [u8]> {
    let name = name.strip_suffix(b"]").unwrap_or(name);
    let last = name.rsplit(|byte| matches!(byte, b'.' | b'[' | b'$' | b':')).next()?;
    let mut length = 0;
    for byte in last.iter().filter(|byte| !matches!(byte, b'_' | b'-' | b' ')) {
        *buffer.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    buffer.get(..length).filter(|word| !word.is_empty())
}

/// Whether a cookie or parameter of this name carries a session.
#[must_use]
pub fn is_session_name(name: &[u8]) -> bool {
    let holds = |part: &[u8]| name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    if name.len() > MAX_NAME * 2 || holds(b"csrf") || holds(b"xsrf") {
        return false;
    }
    [&b"sess"[..], b"auth", b"token", b"jwt", b"remember", b"identity", b"logged_in"]
        .iter()
        .any(|part| holds(part))
        || name.len() >= 3 && name[name.len() - 3..].eq_ignore_ascii_case(b"sid")
        || name.eq_ignore_ascii_case(b"sid")
}

/// Whether `path` holds one of these words, without case.
pub(super) fn path_holds(path: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| path.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_roles() {
        for (name, expected) in [
            ("username", Role::User),
            ("login[email]", Role::User),
            ("j_username", Role::User),
            ("data.user.Password", Role::Password),
            ("pwd", Role::Password),
            ("new_password", Role::NewPassword),
            ("password2", Role::NewPassword),
            ("csrfmiddlewaretoken", Role::AntiForgery),
            ("__RequestVerificationToken", Role::AntiForgery),
            ("_token", Role::AntiForgery),
            ("user_id", Role::User),
            ("orderId", Role::Id),
            ("page", Role::Other),
            ("q", Role::Other),
            ("sid", Role::Other),
            ("", Role::Other),
        ] {
            assert_eq!(role(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(role(&[b'x'; 500]), Role::Other);
    }

    #[test]
    fn sessions_have_names() {
        for name in
            ["PHPSESSID", "session", "connect.sid", "auth_token", "wordpress_logged_in_x", "JSESSIONID"]
        {
            assert!(is_session_name(name.as_bytes()), "{name}");
        }
        for name in ["csrftoken", "XSRF-TOKEN", "theme", "_ga", "", "consent"] {
            assert!(!is_session_name(name.as_bytes()), "{name}");
        }
    }
}
