//! Commands that harm the machine they run on.

use super::{Rule, action, checked, checks};

pub(super) const RULES: &[Rule] = &[
    checked(
        "remove_recursively",
        &["rm -", "rm --", "rm\t-"],
        r#"(?-u:\b)rm[ \t]+(?:-{1,2}[A-Za-z-]+[ \t]+)+[^;|&<>\n]+"#,
        checks::removes_much,
    ),
    action("make_file_system", &["mkfs"], r"(?-u:\b)mkfs(?:\.[a-z0-9]+)?[ \t]+[^\n;|&]*/dev/[a-z]"),
    action(
        "write_to_disk_device",
        &["of=/dev/", "> /dev/sd", ">/dev/sd", "> /dev/nvme", ">/dev/nvme", "shred ", "wipefs "],
        r"(?:of=|> ?|shred [^\n;|&]*|wipefs [^\n;|&]*)/dev/(?:sd|nvme|hd|vd|xvd|disk|mmcblk|mapper|md)[a-z0-9]",
    ),
    action(
        "fork_bomb",
        &[":(){", ":() {", ":()\n{"],
        r":\(\)[ \t\n]*\{[ \t\n]*:[ \t]*\|[ \t]*:[ \t]*&[ \t\n]*\}[ \t\n]*;[ \t]*:",
    ),
    action(
        "download_into_shell",
        &["curl ", "wget ", "fetch "],
        r"(?-u:\b)(?:curl|wget|fetch)[ \t][^|\n]+\|[ \t]*(?:sudo[ \t]+(?:-[A-Za-z]+[ \t]+)*)?(?:/(?:usr/)?bin/)?(?:(?:env[ \t]+)?(?:ba|z|da|k|fi)?sh|python[0-9.]*|perl|ruby|node)(?-u:\b)",
    ),
    action(
        "shell_of_download",
        &["<(curl", "<(wget", "$(curl", "$(wget", "`curl", "`wget"],
        r#"(?:<\(|\$\(|`)(?:curl|wget)[ \t]+[^\n)`]*https?://"#,
    ),
    action(
        "powershell_download",
        &["iex", "invoke-expression", "downloadstring", "-encodedcommand ", "-enc "],
        r"(?i:(?:iex|invoke-expression)[ \t(&{]+[^\n]*(?:downloadstring|invoke-webrequest|iwr|irm|invoke-restmethod|net\.webclient)|downloadstring[ \t]*\([^\n]*\)[^\n]*\|[ \t]*iex|-enc(?:odedcommand)? +[a-z0-9+/]{40,}={0,2})",
    ),
    action(
        "reverse_shell",
        &[
            "/dev/tcp/",
            "/dev/udp/",
            "bash -i ",
            "sh -i ",
            "nc -",
            "ncat ",
            "netcat ",
            "fsockopen(",
            "socat ",
        ],
        r"(?:/dev/(?:tcp|udp)/[A-Za-z0-9.\-$\{\}_]+/[0-9$]+|(?:ba)?sh -i [^\n]*>&|(?:nc|ncat|netcat)[ \t]+[^\n;|]*(?:-[a-z]*[ec][ \t]+|--exec[ =]|--sh-exec[ =])[^\n;|]*(?:sh|cmd|powershell)|fsockopen\([^\n]*(?:exec|shell_exec|proc_open|/bin/sh)|socat[ \t]+[^\n]*(?i:exec|system):)",
    ),
    action(
        "open_permissions",
        &["chmod ", "chown "],
        r#"(?-u:\b)(?:chmod[ \t]+(?:-[A-Za-z]+[ \t]+)*(?:0?777|a\+rwx|ugo\+rwx|[ug]*\+s|[24]7[0-9]{2})|chown[ \t]+(?:-[A-Za-z]+[ \t]+)+[A-Za-z0-9:._-]+)[ \t]+["']?/(?:etc|usr|var|bin|sbin|lib|root|boot|home|opt)?(?:[/"'* \t\n;|&]|$)"#,
    ),
    action(
        "stop_everything",
        &["kill -9 -1", "shutdown ", "killall -9", "init 0", "systemctl "],
        r"(?-u:\b)(?:kill -9 -1(?-u:\b)|shutdown[ \t]+(?:-[hPr]+[ \t]+|/[srp][ \t]+)+|killall -9 [a-z]|init 0(?-u:\b)|systemctl[ \t]+(?:poweroff|halt|isolate rescue))",
    ),
    action(
        "defence_disabled",
        &[
            "iptables -f",
            "iptables --flush",
            "ufw disable",
            "setenforce 0",
            "set-mppreference ",
            "auditctl -e 0",
            "history -c",
            "unset histfile",
            "systemctl stop ",
            "systemctl disable ",
        ],
        r"(?i:(?-u:\b)(?:iptables (?:-F|--flush)(?-u:\b)|ufw disable|setenforce 0|set-mppreference [^\n]*-disable[a-z]+ +(?:\$true|1)|auditctl -e 0|history -c(?-u:\b)|unset histfile|systemctl (?:stop|disable) +(?:--now +)?(?:firewalld|ufw|auditd|apparmor|falco|rsyslog|crowdsec|fail2ban)))",
    ),
    action(
        "privilege_granted",
        &[
            "nopasswd:",
            "usermod ",
            "/etc/sudoers",
            "adduser ",
            "net localgroup administrators ",
            "ld_preload=",
        ],
        r"(?i:nopasswd:[ \t]*all|usermod[ \t]+[^\n;|&]*-(?:aG|G)[ \t]+[^\n;|&]*(?:sudo|wheel|root|docker|admin)|/etc/sudoers|adduser[ \t]+[a-z0-9_-]+[ \t]+(?:sudo|wheel)|net localgroup administrators [^\n]*/add|ld_preload=[^\s]+)",
    ),
    action(
        "windows_destruction",
        &[
            "del /",
            "rd /",
            "rmdir /",
            "format ",
            "vssadmin ",
            "reg delete ",
            "remove-item ",
            "bcdedit ",
            "cipher /w",
            "wbadmin ",
        ],
        r#"(?i:(?-u:\b)(?:del(?: /[fsqa]){1,4} +["']?(?:[a-z]:\\|\\|%systemroot%|\*)|r(?:d|mdir)(?: /[sq]){1,2} +["']?[a-z]:\\|format +[a-z]:|vssadmin +delete +shadows|reg +delete +["']?hk(?:lm|ey_local)|remove-item +[^\n]*-recurse[^\n]*[a-z]:\\|remove-item +[^\n]*[a-z]:\\[^\n]*-recurse|bcdedit +/set|cipher /w|wbadmin +delete))"#,
    ),
    action(
        "autostart_written",
        &[
            "crontab ",
            ">> ~/.bashrc",
            ">> ~/.profile",
            ">> ~/.zshrc",
            "/etc/cron",
            "/etc/systemd/system/",
            "schtasks ",
        ],
        r"(?i-u:crontab[ \t]+-(?:[ \t;&|]|r|$)|>> ~/\.(?:bashrc|profile|zshrc)|/etc/cron(?:\.d|tab|\.daily|\.hourly)|/etc/systemd/system/[a-z0-9_.@-]+\.(?:service|timer)|schtasks[ \t]+/create)",
    ),
];
