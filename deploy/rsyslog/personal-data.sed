# What rsyslog runs every line through before it leaves the host: takes out user addresses, user names, network addresses, tokens and
# passwords, and answers in JSON as mmexternal wants it. Copy to /etc/commeazy-logs/. It takes too much rather than too little.
s/[\x01-\x1f\x7f]/ /g

# PostgreSQL quotes rows and statements, with what users wrote.
s/(DETAIL|STATEMENT|QUERY|CONTEXT|PARAMETERS):.*/\1: [left out]/
s/(invalid input syntax|duplicate key value|value too long|malformed)[^"]*".*/\1 [left out]/

# Units of systemd have an @, too.
s/\b(postgresql|pg_[a-z]+|getty|serial-getty|user|user-runtime-dir)@([-.:_0-9A-Za-z]+\.(service|slice|timer))/\1\x01\2/g

# A resource may have spaces: behind one everything goes.
s/[^ "'<>]+(@|%40)[^ "'<>/]+\/.*/[user]/
s/[^ "'<>]+(@|%40)[^ "'<>]*/[user]/g
s/\b(user|username|jid|account|realm|origin)(s?[ =:]+)(<[^>]*>|"[^"]*"|'[^']*')/\1\2[user]/gI
s/\b(user|username|jid|for|from) [^ ]*( has | is not | does not exist|: (invalid|no such))/\1 [user]\2/g
s/(GET|HEAD|POST|PUT|DELETE|OPTIONS) ([^ ?"]*)\?[^ "]*/\1 \2?[left out]/g
s/\b(password|passwd|secret|bearer|basic|api.?key|credential)(["']?( is)?[ =:]+["']?)[^ "',;)]+/\1\2[secret]/gI

# IPv6 (times such as 12:34:56 have neither eight groups nor an empty one), then IPv4.
s/\b([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b/[address]/g
s/([0-9A-Fa-f]{1,4}:)*([0-9A-Fa-f]{1,4})?::([0-9A-Fa-f]{1,4}:)*([0-9A-Fa-f]{1,4})?/[address]/g
s/\b[0-9]{1,3}(\.[0-9]{1,3}){3}\b/[address]/g

# What FCM calls a device, then long runs with a digit in them: device tokens, keys, base64. Units and metrics have long names without one.
s/[-_0-9A-Za-z]+:APA91[-_0-9A-Za-z]*/[token]/g
s/[-_+=0-9A-Za-z]{24,}/\x02&\x03/g
s/\x02[^\x03]*[0-9][^\x03]*\x03/[token]/g
s/[\x02\x03]//g

s/\x01/@/g
s/\\/\\\\/g
s/"/\\"/g
s/.*/{"msg":"&","$!":{"clean":"yes"}}/
