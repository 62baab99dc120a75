// A certificate authority of the test's own, and servers' certificates of it, by the openssl of the machine.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from './cleanup.js';
import { runCommand } from './run-command.js';

export interface Certificate {
  key: string;
  cert: string;
}

export interface Authority {
  /** The file of its certificate, for NODE_EXTRA_CA_CERTS. */
  file: string;
  /** A certificate for these names, such as `api.stripe.example`, or addresses. */
  certify: (...names: string[]) => Promise<Certificate>;
}

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Makes an authority that nobody knows; its folder ends with the test. */
export async function makeAuthority(): Promise<Authority> {
  const folder = await mkdtemp(join(tmpdir(), 'authority-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const openssl = (...args: string[]): Promise<string> =>
    runCommand('openssl', args, { cwd: folder, timeoutMs: 30_000 });
  await openssl(
    'req',
    '-x509',
    ...curve,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=Test',
  );

  const certify = async (...names: string[]): Promise<Certificate> => {
    const alternatives = names.map((name) => `${/^[\d.]+$/.test(name) ? 'IP' : 'DNS'}:${name}`).join(',');
    await writeFile(join(folder, 'names'), `subjectAltName=${alternatives}\n`);
    await openssl('req', '-new', ...curve, '-keyout', 'key', '-out', 'csr', '-subj', '/CN=Server');
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
    await openssl('x509', '-req', '-in', 'csr', ...by, '-days', '2', '-extfile', 'names', '-out', 'cert');
    const [key, cert] = await Promise.all(
      ['key', 'cert'].map((name) => readFile(join(folder, name), 'utf8')),
    );
    return { key: key!, cert: cert! };
  };
  return { file: join(folder, 'ca.pem'), certify };
}
