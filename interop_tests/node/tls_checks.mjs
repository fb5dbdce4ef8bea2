// Checks of TLS with amqplib, one line of output each; see check_program.py and tls_broker.py.
import amqplib from "amqplib";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [port, folder] = process.argv.slice(2);
const LARGE = 3_000_000;
const TIMEOUT_MS = 10_000;
const checks = [];

const check = (name, body) => checks.push({ name, body });
const file = (name) => readFileSync(join(folder, name));

/** Connects with TLS; `client` names a certificate, `external` has it log in. */
function connect({ authority = "ca", client, external = false, password = "guest", ...options } = {}) {
  const login = external ? "" : `guest:${password}@`;
  return amqplib.connect(`amqps://${login}127.0.0.1:${port}/%2F`, {
    ca: [file(`${authority}.pem`)],
    timeout: TIMEOUT_MS,
    ...(client && { cert: file(`${client}.pem`), key: file(`${client}.pem`) }),
    ...(external && { credentials: amqplib.credentials.external() }),
    ...options,
  });
}

async function through(options) {
  const connection = await connect(options);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue("", { exclusive: true });
  for (const size of [0, 1, 20_000, LARGE]) {
    const body = randomBytes(size);
    channel.sendToQueue(queue, body);
    await channel.waitForConfirms();
    const got = await channel.get(queue, { noAck: true });
    assert.ok(got && got.content.equals(body), `a body of ${size} octets did not come back as it was`);
  }
  await connection.close();
}

async function refused(options, why) {
  let connection;
  try {
    connection = await connect(options);
  } catch (error) {
    assert.match(`${error.code} ${error.message}`, why);
    return;
  }
  await connection.close();
  assert.fail("the connection was opened");
}

check("messages go through a queue over TLS 1.2", () => through({ maxVersion: "TLSv1.2" }));

check("messages go through a queue over TLS 1.3", () => through({ minVersion: "TLSv1.3" }));

check("a broker of an authority that is not known is left", () =>
  refused({ authority: "other-ca" }, /SELF_SIGNED|UNABLE_TO_|self.signed|unable to/i));

check("a broker with a certificate for another name is left", () =>
  refused({ servername: "elsewhere.example" }, /ERR_TLS_CERT_ALTNAME_INVALID/));

check("a client certificate is enough to log in", () => through({ client: "guest", external: true }));

check("a password goes with a client certificate too", () => through({ client: "nobody" }));

check("a certificate that names no user is refused", () =>
  refused({ client: "nobody", external: true }, /ACCESS.REFUSED/));

check("a certificate of another authority is refused", async () => {
  // The broker refuses while the client still sends, which may then see a reset before the alert.
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"]) {
    const options = { client: "stranger", external: true, maxVersion };
    await refused(options, /UNKNOWN_CA|unknown ca|ECONNRESET|EPIPE|closed/i);
  }
});

check("without a certificate nobody logs in by it", () =>
  refused({ external: true }, /EXTERNAL.*not available|ACCESS.REFUSED|mechanism/i));

check("a wrong password is refused over TLS", () => refused({ password: "wrong" }, /ACCESS.REFUSED/));

for (const { name, body } of checks) {
  try {
    await body();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`failed ${name}: ${String(error.stack ?? error).replaceAll("\n", " | ")}`);
  }
}
