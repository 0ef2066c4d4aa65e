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

/// What `name` is for; of a path of names (`login.user`, `login[user]`) the last one counts.
pub(super) fn role(name: &[u8]) -> Role {
    let mut buffer = [0; MAX_NAME];
    let Some(word) = last_word(name, &mut buffer) else { return Role::Other };
    match word {
        b"user" | b"username" | b"login" | b"loginname" | b"email" | b"mail" | b"emailaddress"
        | b"account" | b"accountname" | b"userid" | b"uname" | b"usr" | b"log" | b"jusername"
        | b"identifier" | b"phone" | b"mobile" | b"member" | b"memberid" | b"customerid" | b"benutzer"
        | b"benutzername" | b"nick" | b"nickname" | b"handle" | b"userlogin" | b"useremail" | b"loginid"
        | b"loginemail" | b"utilisateur" | b"usuario" => Role::User,
        b"password" | b"passwd" | b"passwort" | b"pass" | b"pwd" | b"pw" | b"userpassword"
        | b"loginpassword" | b"userpass" | b"jpassword" | b"passphrase" | b"passcode" | b"kennwort"
        | b"motdepasse" | b"contrasena" | b"loginpass" | b"loginpwd" | b"userpwd" => Role::Password,
        b"authenticitytoken"
        | b"requestverificationtoken"
        | b"wpnonce"
        | b"formkey"
        | b"formtoken"
        | b"antiforgerytoken"
        | b"synchronizertoken" => Role::AntiForgery,
        // Names that end like identifiers and count pages, or name sessions and clicks.
        b"pageid" | b"sid" | b"sessionid" | b"phpsessid" | b"jsessionid" | b"sessid" | b"clientid"
        | b"gclid" | b"fbclid" => Role::Other,
        b"uid" | b"order" | b"invoice" | b"doc" | b"document" | b"customer" | b"ticket" | b"record"
        | b"profile" => Role::Id,
        _ if word.ends_with(b"id") => Role::Id,
        _ if name == b"_token" || holds(word, b"csrf") || holds(word, b"xsrf") => Role::AntiForgery,
        _ if holds(word, b"pass") && SETS.iter().any(|part| holds(word, part)) => Role::NewPassword,
        _ => Role::Other,
    }
}

/// Parts of names of passwords that are not there to be checked.
const SETS: [&[u8]; 9] =
    [b"new", b"old", b"confirm", b"repeat", b"again", b"retype", b"current", b"verify", b"2"];

/// Whether a short text holds another; both are in one case.
fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
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
    let mut found = false;
    // One pass by first letters: this runs for every cookie of every request.
    for (at, letter) in name.iter().enumerate().take(MAX_NAME * 2) {
        let begins =
            |part: &[u8]| name.get(at..at + part.len()).is_some_and(|here| here.eq_ignore_ascii_case(part));
        match letter.to_ascii_lowercase() {
            b'c' | b'x' if name.get(at + 1..at + 4).is_some_and(|here| here.eq_ignore_ascii_case(b"srf")) => {
                return false;
            }
            b's' => found |= begins(b"sess") || begins(b"sid") && at + 3 == name.len(),
            b'a' => found |= begins(b"auth"),
            b't' => found |= begins(b"token"),
            b'j' => found |= begins(b"jwt"),
            b'r' => found |= begins(b"remember"),
            b'i' => found |= begins(b"identity"),
            b'l' => found |= begins(b"logged_in"),
            _ => {}
        }
    }
    found
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
